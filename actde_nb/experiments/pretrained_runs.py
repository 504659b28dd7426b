"""The stored runs on the pretrained language model, and what is read off them."""

import xarray as xr

from actde_nb import paths
from actde_nb.checks import ResultsError
from actde_nb.experiments import results

FOLDER = paths.RESULTS / "smollm2"
LAST = 3  # rollouts that are the end of a run
Curve = xr.DataArray  # [trial, rollout]
Trials = xr.DataArray  # [trial], by the number of the seed, so that what is compared is of the same seeds


def stored(row: str, honeypot: str = "uncapped") -> xr.Dataset:
    """All seeds, as trials, of a row; raise ResultsError where there are none."""
    files = sorted(FOLDER.glob(f"{row}_{honeypot}_*.nc"))
    if not files:
        raise ResultsError(f"row = {row!r} with honeypot = {honeypot!r}: no such runs are stored")
    return xr.concat(map(results.read, files), "trial", join="exact", combine_attrs="drop_conflicts").sortby("trial")


def curve(data: xr.Dataset, quantity: str) -> Curve:
    """A quantity of each rollout: one of those recorded; ``found``, the share of completions with the word; ``mood``,
    the mean mood; or ``different``, the share of completions that are different."""
    if quantity in ("found", "mood"):
        return (data["mood"] if quantity == "mood" else data["honeypots"] > 0).mean("completion")
    return data["different"] if quantity == "different" else data["record"].sel(quantity=quantity, drop=True)


def end(data: xr.Dataset, quantity: str) -> Trials:
    """Mean over the last rollouts."""
    return curve(data, quantity).isel(rollout=slice(-LAST, None)).mean("rollout")
