"""The ``actde-nb`` command as a person meets it."""

import errno
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from safetensors import SafetensorError

from actde_nb import cli, paths
from actde_nb.checks import BookError
from actde_nb.experiments import results, runs
from actde_nb.experiments.programme import Programme
from actde_nb.experiments.runs import GPTSettings, PrisonerWorld, Run
from actde_nb.pages import chapters
from actde_nb.training.config import Config
from actde_nb.training.trainer import Trainer

SIZE = {"trials": 2, "updates": 8, "batch": 4, "steps": 8, "layers": 1, "heads": 1, "width": 4}
SMALL = [part for name, value in SIZE.items() for part in (f"--{name}", str(value))]


def test_help_names_every_command(command):
    status, text = command("--help")
    assert status == 0
    names = ("list", "execute", "build", "record", "notebooks", "train", "finetune", "results", "record-games", "model")
    for name in names:
        assert name in text


def test_list_shows_every_chapter_with_its_parameters(command):
    status, text = command("list")
    assert status == 0
    assert "intro" in text
    assert text.count("scale='reader'") == len(chapters.chapters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("execute", "nonsense"), "actde-nb: chapter = 'nonsense': allowed are "),
        (("execute", "intro", "--set", "speed=3"), "actde-nb: parameter = 'speed' of chapter intro: allowed are seed"),
        (("execute", "intro", "--set", "seed"), "actde-nb: set = 'seed': allowed is NAME=VALUE"),
        (("execute", "intro", "--set", "seed=[1"), "actde-nb: set = 'seed=[1': while parsing a flow sequence"),
        (("train", "--algorithm", "ppo"), "actde-nb: train: choose prisoner or language, as in "),
        (("train",), "actde-nb: train: choose prisoner or language, as in "),
        (("results", "verify", "--updates", "-3"), "actde-nb: updates = -3: allowed are whole numbers of 0 or more"),
        (("train", "prisoner", "--algorithm", "a2c"), "actde-nb: algorithm = 'a2c': allowed are ppo, actde, "),
        (("results", "train", "no.nc"), "actde-nb: files = no.nc: allowed are the runs of the book, prisoner_ppo, "),
        (("results", "verify", "no.nc"), "actde-nb: results files that are not as they should be: 1"),
    ],
)
def test_what_a_person_can_mend_is_one_message(command, arguments: tuple[str, ...], message: str):
    status, text = command(*arguments)
    assert str(status).startswith(message)
    assert "Traceback" not in text


def test_an_unknown_scale_is_refused(command):
    status, text = command("execute", "--scale", "huge")
    assert status == 2
    assert "huge" in text
    assert "smoke" in text


@pytest.mark.parametrize("name", ["list", "execute", "build", "record"])
def test_help_is_plain_english(command, name: str):
    status, text = command(name, "--help")
    assert status == 0
    assert "``" not in text
    assert ":class:" not in text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BookError("no such page"), "actde-nb: no such page"),
        (OSError(errno.ENOSPC, "No space left on device", "_build/x"), "actde-nb: _build/x: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "book"), "actde-nb: book: Permission denied"),
        (OSError("odd"), "actde-nb: system: odd"),
        (SafetensorError("InvalidHeader"), "actde-nb: InvalidHeader"),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_a_person_or_the_system_did_is_one_line(command, monkeypatch, error: BaseException, status: int | str):
    def fail():
        raise error

    monkeypatch.setattr(chapters, "chapters", fail)
    found, text = command("list")
    assert found == status
    assert text == ("actde-nb: interrupted\n" if status == 130 else "")


def test_our_own_faults_are_tracebacks(command, monkeypatch):
    monkeypatch.setattr(chapters, "chapters", lambda: [].pop())
    with pytest.raises(IndexError):
        command("list")


def test_list_shows_the_sound_chapters_and_names_the_odd_ones(command, monkeypatch, tmp_path):
    head = "---\nkernelspec: {name: python3, display_name: Python}\n---\n# Sound\n"
    sound = head + "```{code-cell}\n:tags: [parameters]\nscale = 'reader'\n```\n"
    (tmp_path / "02_sound.md").write_text(sound, encoding="utf-8")
    (tmp_path / "01_odd.md").write_bytes(sound.encode() + b"\xff")
    monkeypatch.setattr(chapters, "SOURCES", tmp_path)
    status, text = command("list")
    assert status.startswith("actde-nb: 01_odd.md: is no text in UTF-8")
    assert "02_sound" in text


def module(*arguments: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "actde_nb", *arguments]
    return subprocess.Popen(command, stdout=-1, stderr=-1, env=os.environ | environment)


def test_help_in_a_terminal_without_boxes():
    out, err = module("--help", PYTHONIOENCODING="ascii").communicate()
    assert err == b""
    assert b"build" in out


def test_a_reader_that_stops_reading_is_no_error():
    process = module("list")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_folders_of_parameters(tmp_path):
    folder = paths.executed("smoke", "seed=3").relative_to(paths.BUILD)
    assert folder == Path("executed/smoke+seed=3")
    wild = ["name=a/b", "name=a_b", "name=../../x", "name=" + 300 * "x", "name=" + 301 * "x", "name=\N{SNOWMAN}"]
    names = [paths.executed("smoke", value).relative_to(paths.BUILD / "executed") for value in wild]
    assert len(set(names)) == len(wild)
    for name in names:
        assert len(name.parts) == 1
        assert len(str(name)) < 100
        assert str(name).isascii()


def test_train_then_verify(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = "runs/prisoner_actde.nc"
    status, text = command("train", "prisoner", *SMALL)
    assert status == 0
    assert "trial-updates/s" in text
    assert f"{path}: 8 updates of 2 trials, alternating 0." in text
    monkeypatch.setattr(Trainer, "step", lambda _: pytest.fail("there was nothing to do"))
    status, text = command("train", "prisoner", *SMALL)
    assert (status, text.splitlines()[0]) == (0, f"{path} holds this run already")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert command("results", "verify", path) == (0, f"{path}: as it should be\n")
    assert command("results", "verify", path, "--trials", "0", "99")[0] == 0
    for arguments in (("--trials", "99"), ("--trials", "-1")):
        status, text = command("results", "verify", path, *arguments)
        assert text == f"{path}: trials = [{arguments[1]}]: allowed are 0, 1\n"
        assert "not as they should be: 1" in status


def test_one_bad_file_does_not_hide_the_next(command, tmp_path):
    path, odd, text_file = tmp_path / "run.nc", tmp_path / "odd.nc", tmp_path / "text.nc"
    assert command("train", "prisoner", *SMALL, "--out", str(path))[0] == 0
    data = results.read(path)
    data.attrs["settings"] = data.attrs["settings"].replace('"discount"', '"patience"')
    data.attrs["sha256"] = results.digest(data)
    results.write(data, odd)
    text_file.write_text("dear diary")
    status, text = command("results", "verify", str(text_file), str(tmp_path / "none.nc"), str(odd), str(path))
    first, second, third, last = text.splitlines()
    assert first.startswith(f"{text_file} cannot be read")
    assert second == f"{tmp_path / 'none.nc'} does not exist"
    assert third.startswith(f"{odd}: settings that this version does not know: ")
    assert "'patience'" in third
    assert last == f"{path}: as it should be"
    assert status == "actde-nb: results files that are not as they should be: 3"


@pytest.mark.parametrize(
    ("world", "own"), [("prisoner", "--payoffs {main,"), ("language", "--reward {gold,sent,bow,hp_cap,hp_unc,learned}")]
)
def test_options_stand_in_groups_and_say_what_is_allowed(command, monkeypatch, world: str, own: str):
    monkeypatch.setenv("COLUMNS", "110")  # one panel under the other
    status, text = command("train", world, "--help")
    assert status == 0
    for told in (own, "--whiten {True,False}", "--algorithm {ppo,actde,"):
        assert told in text
    assert "`" not in text
    assert "--no-" not in text
    text = re.sub(r"[│╭╮╰╯─]", " ", text)  # frames, where the terminal has them
    groups = re.split(r"^ +(?:(\w+) )?options *$", text, flags=re.M)
    named = dict(zip([name or "options" for name in groups[1::2]], groups[2::2], strict=True))
    assert list(named) == ["options", "world", "network", "loop", "algorithm"]
    sentences = [re.match(r"[\s-]*([A-Z].*\.)\s", named[name])[1] for name in list(named)[1:]]
    assert len(set(sentences)) == 4
    found = {name: re.findall(r"^ +--([a-z][\w-]*)", part, re.M) for name, part in named.items()}
    kind = runs.WORLDS[world]
    settings = [field.name for part in (kind, kind.network, Config) for field in fields(part)]
    every = sorted(option for options in found.values() for option in options)
    assert every == sorted(["out", *(name.replace("_", "-") for name in settings)]), "each in one group"
    assert {"whiten", "beta", "kl-in-loss", "gae-lambda", "value-coefficient", "sigma-scale"} <= {*found["algorithm"]}
    assert {"updates", "batch", "seed", "learning-rate", "minibatches", "device"} <= {*found["loop"]}


def test_only_training_takes_trials(command):
    assert "--trials" not in command("results", "train", "--help")[1]


def test_what_trains_does_without_the_libraries_of_jupyter():
    code = "import sys, actde_nb.cli; print(*{'jupytext', 'nbformat', 'papermill', 'scipy.stats'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_what_is_stored_is_not_trained_again(command, monkeypatch):
    monkeypatch.setattr(Trainer, "step", lambda _: pytest.fail("there was nothing to do"))
    status, text = command("results", "train", str(paths.RESULTS / "prisoner_ppo.nc"))
    assert (status, text) == (0, f"{paths.RESULTS / 'prisoner_ppo.nc'} holds this run already\n")


def test_final_networks_are_kept_where_a_chapter_asks_for_them(command, monkeypatch, tmp_path):
    config = Config(trials=2, updates=8, batch=4, steps=8)
    small = Run(config, PrisonerWorld(), GPTSettings(layers=1, heads=1, width=4))
    monkeypatch.setattr(cli, "programme", lambda: Programme({"some": {"one": small, "two": small}}, ("two",)))
    for name in ("one", "two"):
        assert command("results", "train", str(tmp_path / f"{name}.nc"))[0] == 0
    assert not (tmp_path / "one.safetensors").exists()
    assert runs.read_networks(tmp_path / "two.safetensors").update == 8


def test_a_mistake_in_the_list_of_stored_runs_is_one_message(command, monkeypatch, tmp_path):
    (tmp_path / "list.yml").write_text("some:\n  mine: {world: {kind: prisoner}, config: {betta: 1.0}}\n", "utf-8")
    monkeypatch.setattr(paths, "PROGRAMME", tmp_path / "list.yml")
    status, _ = command("results", "train")
    assert status.startswith("actde-nb: list.yml, mine: config.betta is no setting: ")


def test_notebooks_are_laid_out_and_what_a_reader_changed_is_named(command, monkeypatch, tmp_path):
    pages, folder = tmp_path / "html" / "_sources", tmp_path / "mine"
    pages.mkdir(parents=True)
    (pages / "01_a.ipynb").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(cli, "build", lambda jobs: pages.parent)
    assert f"the notebooks: {folder}" in command("notebooks", "--folder", str(folder))[1]
    (folder / "01_a.ipynb").write_text('{"mine": 1}', encoding="utf-8")
    assert "01_a.ipynb: kept, since you have changed it" in command("notebooks", "--folder", str(folder))[1]
