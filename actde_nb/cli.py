"""Work on the book: execute its chapters, compare their numbers, render the pages, train and keep results."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml
from safetensors import SafetensorError

from actde_nb import paths
from actde_nb.checks import BookError, Mendable, ResultsError
from actde_nb.experiments import runs
from actde_nb.experiments.results import read, settings_of
from actde_nb.experiments.stored_runs import PROGRAMME, WITH_WEIGHTS
from actde_nb.pages import references
from actde_nb.pages.chapters import chapters as find_chapters
from actde_nb.pages.execute import execute as run_chapters
from actde_nb.pages.glue import SCALES, glued
from actde_nb.pages.render import render

Scale = Literal["smoke", "reader", "paper"]
Chapters = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[CHAPTER ...]", help_behavior_hint="(default: all)")
]
Settings = Annotated[
    tuple[str, ...], tyro.conf.arg(name="set", metavar="NAME=VALUE ...", help_behavior_hint="(default: none)")
]
Jobs = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: one a core)")]

Verb = Annotated[Literal["verify", "train"], tyro.conf.Positional, tyro.conf.arg(metavar="{verify,train}")]
Files = Annotated[
    tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FILE ...]", help_behavior_hint="(default: all)")
]
Out = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: named after the run)")]


def list_() -> None:
    """Show the chapters, their parameters, and which numbers they have at each scale."""
    faults = []
    for chapter in find_chapters():
        try:
            defaults = ", ".join(f"{name}={value!r}" for name, value in chapter.parameters.items())
            print(f"{chapter.name:32} {chapter.title}\n{'':32} {defaults}")
        except BookError as error:
            faults.append(str(error))
        for scale in SCALES:
            notebook = paths.executed(scale) / f"{chapter.name}.ipynb"
            if notebook.exists():
                print(f"{'':32} {scale}: {len(glued(notebook))} numbers in {notebook.relative_to(paths.ROOT)}")
    if faults:
        raise BookError("\n".join(faults))


def execute(
    chapters: Chapters = (),
    scale: Scale = "reader",
    set_: Settings = (),
    jobs: Jobs = None,
    force: bool = False,
) -> None:
    """Execute chapters that changed, or whose code in the package changed.

    Args:
        chapters: names or their beginnings, such as 02.
        scale: smoke takes seconds, reader is what the pages show, paper is the sources' own size.
        set_: other values for a chapter's parameters, such as seed=3; the result is kept apart.
        jobs: chapters at a time.
        force: execute even what is up to date.
    """
    folder = paths.executed(scale, *set_)
    for notebook in run_chapters(find_chapters(chapters), scale, folder, _parse(set_), jobs=jobs, force=force):
        print(notebook.relative_to(paths.ROOT))


def build(scale: Scale = "reader", jobs: Jobs = None, strict: bool = False) -> None:
    """Execute what changed, compare its numbers with the references, and render the book.

    Args:
        scale: size of the runs behind the pages.
        jobs: chapters at a time.
        strict: fail when a number is not what its reference says.
    """
    every = find_chapters()
    notebooks = run_chapters(every, scale, paths.executed(scale), jobs=jobs)
    moved = [difference for notebook in notebooks for difference in references.differences(notebook, scale)]
    for difference in moved:
        print(f"moved: {difference}", file=sys.stderr)
    html = paths.HTML if scale == "reader" else paths.BUILD / f"html-{scale}"
    print("rendering ...", flush=True)
    print(f"the book: {render(every, paths.executed(scale), html).as_uri()}")
    if moved and strict:
        raise BookError(f"{len(moved)} numbers are not what their references say")


def record(chapters: Chapters = (), scale: Scale = "smoke", jobs: Jobs = None) -> None:
    """Execute chapters and make their numbers the new references, showing every difference.

    Args:
        chapters: names or their beginnings, such as 02.
        scale: which references; smoke and reader ones are kept.
        jobs: chapters at a time.
    """
    for notebook in run_chapters(find_chapters(chapters), scale, paths.executed(scale), jobs=jobs):
        changed = references.differences(notebook, scale)
        print("\n".join(map(str, changed)) or f"{notebook.stem}: as before")
        references.record(notebook, scale)


def train_prisoner(run: Annotated[runs.PrisonerRun, tyro.conf.arg(name="")], out: Out = None) -> None:
    """Train a policy in the dilemma, or go on where a run was interrupted, and keep the results.

    Args:
        run: how; the defaults are the published settings.
        out: file of the results, with the state to go on from beside it.
    """
    path = out or paths.RESULTS / f"prisoner_{run.algorithm}.nc"
    data = runs.train(run, path)
    share = data["final_outcome_share"].sel(outcome=["cd", "dc"]).sum("outcome")
    print(f"{path}: {settings_of(data)['updates']:,} updates of {data.sizes['trial']} trials, ", end="")
    print(f"alternating {float(share.mean()):.3f} in the last {data.attrs['final_updates']:,}")


def train_language(run: Annotated[runs.LanguageRun, tyro.conf.arg(name="")], out: Out = None) -> None:
    """Tune a network that speaks the small language, or go on where a run was interrupted, and keep the results.

    Args:
        run: how.
        out: file of the results, with the state to go on from beside it.
    """
    path = out or paths.RESULTS / f"language_{run.algorithm}.nc"
    data = runs.train(run, path)
    means = data["final_sentence"].mean("trial")
    print(f"{path}: {settings_of(data)['updates']:,} updates of {data.sizes['trial']} trials, ", end="")
    print(", ".join(f"{name} {float(means.sel(measure=name)):.3f}" for name in ("reward", "gold", "grammatical")))


Training = (
    Annotated[Any, tyro.conf.subcommand("prisoner", constructor=train_prisoner)]
    | Annotated[Any, tyro.conf.subcommand("language", constructor=train_language)]
)


def train(world: Annotated[Training, tyro.conf.arg(name="")]) -> None:
    """Train a policy, or go on where a run was interrupted, and keep the results.

    Args:
        world: what to learn, and how.
    """


def results(verb: Verb, files: Files = (), updates: int = 40, trials: tuple[int, ...] = (0, 1)) -> None:
    """Check the book's stored results, or make those that are missing or shorter than they should be.

    Args:
        verb: "verify" that they are whole, and that this package still reproduces how they begin; or "train".
        files: results; those of the book by default.
        updates: how many to do again to verify; 0 for none.
        trials: which to do again.
    """
    if verb == "train":
        from actde_nb.experiments import weights

        for path in files or [paths.RESULTS / f"{name}.nc" for name in PROGRAMME]:
            if path.stem not in PROGRAMME:
                raise BookError(f"files = {path}: allowed are the runs of the book, {', '.join(PROGRAMME)}")
            run, networks = PROGRAMME[path.stem], path.with_suffix(".safetensors")
            runs.train(run, path)
            if path.stem in WITH_WEIGHTS and not networks.exists():
                weights.from_checkpoint(run, path.with_suffix(".checkpoint.safetensors"), networks)
        return
    wrong = 0
    for path in files or sorted(paths.RESULTS.glob("*.nc")):
        try:
            data = read(path)
            found = runs.differences(data, runs.recompute(data, updates, trials)) if updates else []
            line = f"{path}: {'; '.join(found) or 'as it should be'}"
        except ResultsError as error:
            found, line = [error], str(error)
        wrong += bool(found)
        print(line, flush=True)
    if wrong:
        raise BookError(f"results files that are not as they should be: {wrong}")


def _parse(assignments: tuple[str, ...]) -> dict[str, Any]:
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise BookError(f"set = {assignment!r}: allowed is NAME=VALUE")
        try:
            values[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise BookError(f"set = {assignment!r}: {' '.join(str(error).split())}") from None
    return values


def main() -> None:
    """Entry point: what a person can mend is one message and exit status 1; what is our fault is a traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # where a terminal has fewer characters than the help
    commands = {"list": list_, "execute": execute, "build": build, "record": record, "train": train, "results": results}
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="actde-nb", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
        )
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read what we print has read enough; Python must not print the rest at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("actde-nb: interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        sys.exit(f"actde-nb: {error.filename or 'system'}: {error.strerror or error}")
    except (Mendable, SafetensorError) as error:
        sys.exit(f"actde-nb: {error}")
