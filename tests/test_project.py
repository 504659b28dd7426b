"""The project's own files agree with each other."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from actde_nb.pages import printing
from actde_nb.paths import HTML, LOCK, ROOT, stored_runs

CARD = ("jupyter-book", "jupytext", "torch", "numpy", "matplotlib", "sympy", "papermill")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, TOOL = SETTINGS["project"], SETTINGS["tool"]


def pins() -> dict[str, str]:
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_line_of_the_lock_is_an_exact_pin():
    for name, version in pins().items():
        assert re.fullmatch(r"[\w.-]+", name), name
        assert re.fullmatch(r"\d+(\.\d+)*(\.?(post|rc|a|b)\d+)?", version), f"{name}=={version}"


def test_the_lock_holds_what_the_package_asks_for():
    locked = {canonicalize_name(name): version for name, version in pins().items()}
    # What a benchmark compares with is nothing that the book needs; nor is what the shipped games were recorded with.
    aside = ("benchmark", "games")
    groups = {name: group for name, group in PROJECT["optional-dependencies"].items() if name not in aside}
    extras = [text for group in groups.values() for text in group]
    for text in PROJECT["dependencies"] + extras:
        asked = Requirement(text)
        version = locked.get(canonicalize_name(asked.name))
        assert version is not None, f"{asked.name} is not in the lock"
        assert asked.specifier.contains(version), f"{asked} but the lock has {version}"


def test_what_is_under_the_gpl_is_asked_for_by_name_only():
    """TextWorld needs Jericho, which is under GPL-2: neither is installed unless somebody asks for the extra games."""
    asked = [Requirement(text).name for text in PROJECT["dependencies"]]
    assert not {"textworld", "jericho"} & {canonicalize_name(name) for name in (*asked, *pins())}


def test_conda_users_get_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    [pip] = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip[-2:] == [f"--requirement {LOCK.name}", "--editable ."], "all the other pins come from the lock"
    named = dict(entry.split("==") for entry in pip[:-2])
    assert named == {name: pins()[name] for name in CARD}
    assert conda[0] == "python=3.11"
    assert all("=" not in entry for entry in conda[1:]), "no second place for a version"
    locked_for = LOCK.read_text(encoding="utf-8").splitlines()[0]
    assert locked_for.endswith("Python 3.11.")
    assert PROJECT["requires-python"] == ">=3.11"


def test_the_readme_is_what_ci_runs():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("make book", "make test"):
        assert command in readme
    assert re.search(r"^make test$", script, re.M)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8"))
    steps = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert "bash .ci/run" in steps
    assert 'make book FLAGS="--strict --pdf"' in steps


def test_what_is_published_is_printed_too():
    """Both files, beside the pages, before these are uploaded."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8"))
    steps = [step.get("run", step.get("uses", "")) for step in workflow["jobs"]["book"]["steps"]]
    [looked] = [i for i, step in enumerate(steps) if step.startswith("test -s ")]
    files = {str(HTML.relative_to(ROOT) / name) for name in (printing.SUMMARY, printing.BOOK)}
    assert set(re.findall(r"test -s (\S+)", steps[looked])) == files
    [uploaded] = [i for i, step in enumerate(steps) if "upload-pages-artifact" in step]
    assert steps.index('make book FLAGS="--strict --pdf"') < looked < uploaded


def test_actions_cannot_change_under_a_version():
    for workflow in (ROOT / ".github" / "workflows").iterdir():
        used = re.findall(r"uses:(.*)", workflow.read_text(encoding="utf-8"))
        assert used
        for action in used:
            assert re.fullmatch(r" [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_data_beside_the_code_is_installed():
    patterns = TOOL["setuptools"]["package-data"]
    for folder in {path.parent for path in (ROOT / "actde_nb").rglob("*.py")}:
        data = {path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".py"}
        told = patterns.get(".".join(folder.relative_to(ROOT).parts), [])
        assert data == {path.name for pattern in told for path in folder.glob(pattern)}


def set_up(tmp_path: Path, model: str = "yes", processes: int = 1) -> list[str]:
    """Call make with a Python whose "venv" and "pip", and with an actde-nb that, only write down that they ran.

    The actde-nb then fails, as where there is no network."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for path in (tmp_path / "requirements.lock", tmp_path / "pyproject.toml"):
        if not path.exists():  # what is newer would be made anew
            path.touch()
    pip, command = "#!/bin/sh\necho $3 >> log\n", "#!/bin/sh\necho $1 >> log; exit 1\n"
    venv = f"mkdir -p .venv/bin; cd .venv/bin; printf '{pip}' > python; printf '{command}' > actde-nb; chmod +x *; cd -"
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        f'[ "$2" = venv ] || exec {sys.executable} "$@"\n'
        f"echo begun >> log; sleep 1; {venv}; echo ended >> log\n",
        encoding="utf-8",
    )
    python.chmod(0o755)
    command = ["make", "environment", f"PYTHON={python}", f"MODEL={model}"]
    made = [subprocess.Popen(command, cwd=tmp_path) for _ in range(processes)]
    assert [process.wait(60) for process in made] == [0] * processes
    return (tmp_path / "log").read_text().split()


def test_two_makes_at_once_set_up_once(tmp_path):
    assert set_up(tmp_path, processes=2) == ["begun", "ended", "install", "install", "model"]


def test_an_environment_without_the_pretrained_model(tmp_path):
    """Set-up does not ask for the model if told so; where it cannot be had, it asks once, and goes on."""
    assert set_up(tmp_path, model="no") == ["begun", "ended", "install", "install"]
    (tmp_path / "pyproject.toml").touch()
    assert set_up(tmp_path)[4:] == ["install", "model"]
    assert set_up(tmp_path)[6:] == []


def test_an_installed_copy_has_the_drawers_and_the_stored_runs(installed, tmp_path):
    """Into an empty folder, and used from another: nothing of the checkout is at hand."""
    code = """
from actde_book.ch13_honeypots import figures
from actde_nb import paths
from actde_nb.compare.frontiers import last, stored
from actde_nb.experiments.stored_runs import LANGUAGE
from actde_nb.worlds.adventure import GAMES, Adventure
from actde_nb.pages.style import STYLE
assert "installed" in figures.__file__ and STYLE.exists()
assert all(Adventure(game).record["states"] for game in GAMES)
price, trials = LANGUAGE["ppo_010"].config.kl_in_reward, len(last(stored("ppo_010")["ppo_010"], "kl"))
print(len(paths.stored_runs()), price, trials, paths.PRETRAINED)
"""
    environment = {**os.environ, "PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    runs, price, trials, pretrained = run.stdout.split()
    assert (int(runs), float(price)) == (len(stored_runs()), 0.1)
    assert (int(trials), Path(pretrained)) == (5, tmp_path / "cache" / "actde-nb" / "pretrained")
