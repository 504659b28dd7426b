"""The stored runs of the programme."""

import xarray as xr

from actde_nb import paths
from actde_nb.checks import ResultsError
from actde_nb.experiments import results


def stored(row: str, honeypot: str = "uncapped") -> xr.Dataset:
    """All seeds, as trials, of a row; raise ResultsError where there are none."""
    files = sorted((paths.RESULTS / "smollm2").glob(f"{row}_{honeypot}_*.nc"))
    if not files:
        raise ResultsError(f"row = {row!r} with honeypot = {honeypot!r}: no such runs are stored")
    return xr.concat(map(results.read, files), "trial", combine_attrs="drop").sortby("trial")
