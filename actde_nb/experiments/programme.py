"""The programme of stored runs: the file that lists them, read as runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from actde_nb import paths
from actde_nb.checks import BookError, Mendable
from actde_nb.experiments.runs import WORLDS, Run, run_of


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
