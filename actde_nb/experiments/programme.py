"""The programme of stored runs: the file that lists them, read as runs, and how they are made."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from actde_nb import paths
from actde_nb.checks import BookError, Mendable
from actde_nb.experiments.runs import WORLDS, Run, keep_networks, run_of, state_beside, train

PATIENCE = 10  # seconds, for a scheduler to answer, and for it to have a worker


class Programme(NamedTuple):
    """What a list of runs says: runs by group and by the name of their file, and which of them keep their networks."""

    groups: dict[str, dict[str, Run]]
    with_networks: tuple[str, ...] = ()

    @property
    def runs(self) -> dict[str, Run]:
        """All runs, whichever group they are in."""
        return {name: run for group in self.groups.values() for name, run in group.items()}


def programme(path: Path | None = None) -> Programme:
    """Read a list of runs, the book's own unless another is given; what is wrong in an entry is a BookError."""
    path = path or paths.PROGRAMME
    try:
        groups = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BookError(f"{path.name}: {' '.join(str(error).split())}") from None
    groups.pop("shared", None)
    kept, read = tuple(groups.pop("with_networks", ())), {}
    for group, entries in groups.items():
        for name, parts in entries.items():
            try:
                read.setdefault(group, {})[name] = _run(parts)
            except Mendable as error:
                raise BookError(f"{path.name}, {name}: {error}") from None
    return Programme(read, kept)


def _run(parts: Mapping[str, Mapping[str, Any]]) -> Run:
    """The run with these settings, by part; one that is not named is as usual in its world."""
    kind = parts.get("world", {}).get("kind")
    if kind not in WORLDS:
        raise BookError(f"world.kind = {kind!r}: allowed are {', '.join(WORLDS)}")
    world = WORLDS[kind]
    usual = Run(world.usual, world(), world.network()).settings()
    for part, settings in parts.items():
        for name, value in settings.items():
            if name not in usual.get(part, ()):
                allowed = f"of {part} are {', '.join(usual[part])}" if part in usual else f"are {', '.join(usual)}"
                raise BookError(f"{part}.{name} is no setting: those {allowed}")
            if isinstance(value, str) != isinstance(usual[part][name], str):  # such as 1e-3, which YAML reads as text
                raise BookError(f"{part}.{name} = {value!r}: allowed are values such as {usual[part][name]!r}")
    return run_of({part: {**settings, **parts.get(part, {})} for part, settings in usual.items()})


def make(run: Run, path: Path, networks: bool, progress: bool = True) -> Path:
    """Do a stored run, or what is left of it; its results go to ``path``, its ``networks``, if wanted, beside it."""
    kept = path.with_suffix(".safetensors")
    train(run, path, progress=progress)
    if networks and not kept.exists():
        keep_networks(run, state_beside(path), kept)
    return path


def _make_on_worker(run: Run, path: Path, networks: bool) -> Path:
    import dask  # heavy, and an extra

    # Or xarray asks the cluster for a lock on the bytes that it writes in memory, of which the scheduler knows nothing.
    with dask.config.set(scheduler="synchronous"):
        return make(run, path, networks, progress=False)


def make_on_cluster(wanted: Sequence[tuple[Run, Path, bool]], address: str) -> None:
    """:func:`make` runs on the workers of a Dask cluster, each run one task, and say which are done.

    The workers write the files themselves, so they must share the filesystem of this process, and have the same package
    installed. Of a worker that dies, the run goes on elsewhere from its checkpoint, as the lock died with it."""
    try:
        import joblib  # heavy, as is Dask, which is an extra
        from distributed import Client, KilledWorker
    except ModuleNotFoundError as error:
        raise BookError(f'cluster needs {error.name}: pip install "actde-nb[cluster]"') from None
    named = f"cluster = {address!r}"
    try:
        client = Client(address, timeout=PATIENCE)
        client.wait_for_workers(1, timeout=PATIENCE)
    except (OSError, ValueError) as error:  # running out of time is an OSError
        told = f"allowed are addresses of Dask schedulers that have workers ({' '.join(str(error).split())})"
        raise BookError(f"{named}: {told}") from None
    with client:
        for folder in sorted({path.parent.resolve() for _, path, _ in wanted}):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder) as probe:
                blind = [worker for worker, sees in client.run(os.path.exists, probe.name).items() if not sees]
            if blind:
                raise BookError(f"{named}: the worker {blind[0]} does not see {folder}, which all must share")
        tasks = (joblib.delayed(_make_on_worker)(run, path.resolve(), networks) for run, path, networks in wanted)
        try:
            with joblib.parallel_config(backend="dask", client=client):
                options = {"batch_size": 1, "pre_dispatch": "all", "return_as": "generator_unordered"}
                for path in joblib.Parallel(**options)(tasks):
                    print(f"{path}: done", flush=True)
        except KilledWorker as error:
            raise BookError(f"{named}: {error}") from None
