"""Work on the book: execute its chapters, compare their numbers, render the pages, train and keep results."""

import inspect
import os
import sys
from dataclasses import fields, is_dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml
from safetensors import SafetensorError

from actde_nb import paths
from actde_nb.checks import BookError, Mendable, whole
from actde_nb.experiments import runs
from actde_nb.experiments.programme import make, make_on_cluster, programme
from actde_nb.experiments.results import read, settings_of
from actde_nb.finetune import smollm2
from actde_nb.finetune.command import command as finetune
from actde_nb.training.config import LOOP
from actde_nb.worlds.record import DESIGNS

Scale = Literal["smoke", "reader", "paper"]


def _option(kind: Any, metavar: str, default: str, *more: Any, **names: str) -> Any:
    return Annotated[kind, *more, tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})", **names)]


WHICH = "names or their beginnings, such as 02."
Chapters = _option(tuple[str, ...], "[CHAPTER ...]", "all", tyro.conf.Positional, help=WHICH)
Settings = _option(tuple[str, ...], "NAME=VALUE ...", "none", name="set")
Jobs = _option(int | None, "INT", "one a core", help="chapters at a time.")
Files = _option(tuple[Path, ...], "[FILE ...]", "all", tyro.conf.Positional)
Repository = _option(str | None, "URL", "what GitHub's workflows say, elsewhere none")
Cluster = _option(str | None, "ADDRESS", "this process")
KEPT = "File of the results, with the state to go on from beside it."
Folder = _option(Path, "FOLDER", "games in this folder")
Out = _option(Path | None, "FILE", "runs/WORLD_ALGORITHM.nc in this folder", help=KEPT)


# The libraries of Jupyter take as long to import as all else: the four commands that work on chapters import them.


def list_() -> None:
    """Show the chapters, their parameters, and which numbers they have at each scale."""
    from actde_nb.pages.chapters import chapters as find_chapters  # heavy
    from actde_nb.pages.glue import SCALES, glued

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
    chapters: Chapters = (), scale: Scale = "reader", set_: Settings = (), jobs: Jobs = None, force: bool = False
) -> None:
    """Execute chapters that changed, or whose code in the package changed.

    Args:
        scale: smoke takes seconds, reader is what the pages show, paper is the sources' own size.
        set_: other values for a chapter's parameters, such as seed=3; the result is kept apart.
        force: execute even what is up to date."""
    from actde_nb.pages.chapters import chapters as find_chapters  # heavy
    from actde_nb.pages.execute import execute as run_chapters

    folder = paths.executed(scale, *set_)
    for notebook in run_chapters(find_chapters(chapters), scale, folder, _parse(set_), jobs=jobs, force=force):
        print(notebook.relative_to(paths.ROOT))


def build(
    scale: Scale = "reader", jobs: Jobs = None, strict: bool = False, repository: Repository = None, pdf: bool = False
) -> Path:
    """Execute what changed, compare its numbers with the references, and render the book.

    Args:
        scale: size of the runs behind the pages.
        strict: fail when a number is not what its reference says.
        pdf: print the whole book into a PDF file too, where there is a Chromium; the summary is printed anyway.
        repository: where the book's files are kept, such as https://github.com/owner/name; pages link to it."""
    from actde_nb.pages.chapters import chapters as find_chapters  # heavy
    from actde_nb.pages.execute import execute as run_chapters
    from actde_nb.pages.printing import print_book
    from actde_nb.pages.references import differences
    from actde_nb.pages.render import render

    every = find_chapters()
    notebooks = run_chapters(every, scale, paths.executed(scale), jobs=jobs)
    moved = [difference for notebook in notebooks for difference in differences(notebook, scale)]
    for difference in moved:
        print(f"moved: {difference}", file=sys.stderr)
    html = paths.HTML if scale == "reader" else paths.BUILD / f"html-{scale}"
    print("rendering ...", flush=True)
    page = render(every, paths.executed(scale), html, _repository() if repository is None else repository)
    if pdf:
        print("printing ...", flush=True)
        try:
            print(f"the book as a PDF file: {print_book(html).as_uri()}")
        except BookError as error:
            print(error, file=sys.stderr)
    print(f"the book: {page.as_uri()}")
    if moved and strict:
        raise BookError(f"{len(moved)} numbers are not what their references say")
    return html


def _repository() -> str:
    """What GitHub's own workflows say of it; nothing elsewhere."""
    server, name = (os.environ.get(f"GITHUB_{part}", "") for part in ("SERVER_URL", "REPOSITORY"))
    return f"{server}/{name}" if server and name else ""


def notebooks(folder: Path = Path("notebooks"), jobs: Jobs = None) -> None:
    """Lay out the chapters as notebooks to change and run, with the numbers of the book as last executed.

    Args:
        folder: where; what you have changed there stays as it is."""
    from actde_nb.pages.render import lay_out

    kept = lay_out(build(jobs=jobs), folder)
    for notebook in kept:
        print(f"{notebook}: kept, since you have changed it; without it you would get the book's")
    print(f"the notebooks: {folder.resolve()}")


def record(chapters: Chapters = (), scale: Scale = "smoke", jobs: Jobs = None) -> None:
    """Execute chapters and make their numbers and times the new references, showing every difference.

    Args:
        scale: which references; of the sources' own scale only the times are kept."""
    from actde_nb.pages import references
    from actde_nb.pages.chapters import chapters as find_chapters  # heavy
    from actde_nb.pages.execute import execute as run_chapters
    from actde_nb.pages.execute import stamp

    for notebook in run_chapters(find_chapters(chapters), scale, paths.executed(scale), jobs=jobs):
        references.record_time(notebook, scale, stamp(notebook).get("seconds", 0))
        if scale == "paper":
            continue
        changed = references.differences(notebook, scale)
        print("\n".join(map(str, changed)) or f"{notebook.stem}: as before")
        references.record(notebook, scale)


def _group(usual: Any, help: str, *names: str) -> Any:
    """Settings of a part of a run, all or those with ``names``, as a group of options that default to ``usual``.

    They are checked when the command runs: what is checked while options are read is reported with an inner name."""
    types = {f.name: f.type for f in fields(usual)}
    unchecked = make_dataclass("Group", [(name, types[name], getattr(usual, name)) for name in names or types])
    told = [inspect.getdoc(kind).partition("Args:")[2] for kind in type(usual).__mro__ if is_dataclass(kind)]
    unchecked.__doc__ = "Settings.\n\nArgs:" + "".join(told).replace("\n        ", " ")  # a line for each
    # Switches take True or False, so that no help text stands beside its opposite.
    return Annotated[unchecked, tyro.conf.arg(help=help), tyro.conf.OmitArgPrefixes, tyro.conf.FlagConversionOff]


def _training(kind: type, description: str) -> Any:
    """The command that trains in one kind of world, whose options are the settings of a run."""
    usual = runs.Run(kind.usual, kind(), kind.network())
    rest = [f.name for f in fields(usual.config) if f.name not in LOOP]

    def command(
        world: _group(usual.world, "What is played or said, and what earns rewards."),
        network: _group(usual.network, "What plays or speaks: its size, and what it can do before training."),
        loop: _group(usual.config, "How much is played, and how the optimiser moves the network.", *LOOP),
        algorithm: _group(usual.config, "What an update makes of what was played.", *rest), out: Out = None,
    ) -> None:  # fmt: skip
        """Train networks, or go on where a run was interrupted, and keep the results."""
        config = replace(usual.config, **vars(loop), **vars(algorithm))
        run = runs.Run(config, replace(usual.world, **vars(world)), replace(usual.network, **vars(network)))
        data = runs.train(run, path := out or Path("runs") / f"{kind.kind}_{config.algorithm}.nc")
        updates = settings_of(data)["config"]["updates"]
        print(f"{path}: {updates:,} updates of {data.sizes['trial']} trials, {run.world.summary(data)}")

    return Annotated[Any, tyro.conf.subcommand(kind.kind, description=description, constructor=command)]


Training = _training(
    runs.PrisonerWorld,
    "Play the prisoner's dilemma against one's own previous move. The defaults are the published settings.",
) | _training(runs.LanguageWorld, "Tune a network that speaks the small language to a reward of its sentences.")


def train(world: Annotated[Training, tyro.conf.arg(name="", help="what to learn, and how.")]) -> None:
    """Train a policy, or go on where a run was interrupted, and keep the results."""


def record_games(out: Folder = Path("games")) -> None:
    """Record the text adventures that come with the package anew, from TextWorld, which a plain installation lacks.

    Args:
        out: where; those of the package lie in actde_nb/worlds."""
    for name, design in DESIGNS.items():
        design.write(path := out / f"adventure_{name}.json")
        print(path, flush=True)


def results_verify(files: Files = (), updates: int = 40, trials: tuple[int, ...] = (0, 1)) -> None:
    """Check that results are whole, and that this package still reproduces how they begin.

    Args:
        files: Results files; those of the book by default.
        updates: How many updates to do again; 0 for none.
        trials: Which trials to do again."""
    whole("updates", updates, least=0)
    wrong = 0
    for path in files or [path for path in paths.stored_runs() if path.suffix == ".nc"]:
        try:
            data = read(path)
            found = runs.differences(data, runs.recompute(data, updates, trials)) if updates else []
            line = f"{path}: {'; '.join(found) or 'as it should be'}"
        except Mendable as error:
            found, line = [error], str(error) if str(path) in str(error) else f"{path}: {error}"
        wrong += bool(found)
        print(line, flush=True)
    if wrong:
        raise BookError(f"results files that are not as they should be: {wrong}")


def results_train(files: Files = (), cluster: Cluster = None) -> None:
    """Make those of the book's stored results that are missing or shorter than they should be.

    Args:
        files: Results files of the book; all of them by default.
        cluster: Dask scheduler whose workers do it, a run at a time each. They must share this folder's filesystem, and
            should have one thread each (dask worker ADDRESS --nthreads 1)."""
    book = programme()
    every = files or [paths.RESULTS / f"{name}.nc" for name in book.runs]
    for path in every:
        if path.stem not in book.runs:
            raise BookError(f"files = {path}: allowed are the runs of the book, {', '.join(book.runs)}")
    wanted = [(book.runs[path.stem], path, path.stem in book.with_networks) for path in every]
    if cluster:
        make_on_cluster(wanted, cluster)
    else:
        for run in wanted:
            make(*run)


Stored = (
    Annotated[Any, tyro.conf.subcommand("verify", constructor=results_verify)]
    | Annotated[Any, tyro.conf.subcommand("train", constructor=results_train)]
)


def results(verb: Annotated[Stored, tyro.conf.arg(name="", help="which of the two.")]) -> None:
    """Check the book's stored results, or make them."""


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
    commands = {
        "list": list_,
        "execute": execute,
        "build": build,
        "record": record,
        "notebooks": notebooks,
        "train": train,
        "finetune": finetune(_group),
        "results": results,
        "record-games": record_games,
        "model": smollm2.model,
    }
    try:
        if sys.argv[1:2] == ["train"] and not {*runs.WORLDS, "-h", "--help"} & set(sys.argv[2:3]):
            raise BookError(f"train: choose {' or '.join(runs.WORLDS)}, as in actde-nb train prisoner --algorithm ppo")
        looks = (tyro.conf.FlagCreatePairsOff,)
        tyro.extras.subcommand_cli_from_dict(commands, prog="actde-nb", description=__doc__, config=looks)
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
