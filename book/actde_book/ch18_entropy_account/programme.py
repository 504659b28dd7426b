"""Remedies for falling entropy as stored runs, listed in ``runs.yml`` beside this file.

``python -m actde_book.ch18_entropy_account.programme`` does those that are missing, or goes on with them; several
processes share the work. The page shows those that are there."""

from pathlib import Path

import torch
import tyro
import xarray as xr
import yaml

from actde_nb.checks import BookError, one_of
from actde_nb.experiments import results
from actde_nb.experiments.programme import make, programme
from actde_nb.experiments.runs import Run
from actde_nb.paths import RESULTS

LISTED = Path(__file__).with_name("runs.yml")
EXPECTED = Path(__file__).with_name("predictions.yml")


def remedies() -> dict[str, Run]:
    """The runs by the names of their files."""
    return programme(LISTED).runs


def expected() -> dict[str, dict[str, str]]:
    """What was expected of each run, by the name of its file without the beginning ``language_``, and by quantity."""
    said = yaml.safe_load(EXPECTED.read_text(encoding="utf-8"))
    return {name.removeprefix("language_"): words for name, words in said.items()}


def stored() -> dict[str, xr.Dataset]:
    """Results of those that have been made, by the names of their files without the beginning ``language_``."""
    there = {name: RESULTS / f"{name}.nc" for name in remedies()}
    return {name.removeprefix("language_"): results.read(path) for name, path in there.items() if path.exists()}


def main(only: tuple[str, ...] = ()) -> None:
    """Do the runs that are missing.

    Args:
        only: names of runs; all by default."""
    torch.set_num_threads(1)
    listed = remedies()
    for name in only:
        one_of("only", name, tuple(listed))
    for name in only or listed:
        path = RESULTS / f"{name}.nc"
        if path.exists():
            continue
        try:
            make(listed[name], path, networks=False)
        except BookError as error:  # another process has it
            print(error, flush=True)


if __name__ == "__main__":
    tyro.cli(main)
