"""What a training run found, as labelled arrays in one netCDF file that says where it came from: curves, which are
means over windows of rollouts, and ``final_...``, means over the last updates. Dimensions are ``trial``, ``update``
and, by variable, ``outcome``, ``last_move``, ``term`` or ``parameter``."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from actde_nb.checks import ResultsError
from actde_nb.paths import ROOT
from actde_nb.training.files import replace_file
from actde_nb.training.trainer import Trainer

FORMAT = "actde-nb results 2"
POINTS = 500  # on a curve
FINAL_UPDATES = 1_000


def dataset(
    trainer: Trainer, settings: Mapping[str, Any], *, points: int = POINTS, final_updates: int = FINAL_UPDATES,
    more: Mapping[str, tuple[tuple[str, ...], Any]] | None = None,
) -> xr.Dataset:  # fmt: skip
    """A run's records, thinned out, with the state it ended in and where it came from.

    Per rollout statistics are curves ``[trial, update, ...]`` at float32 of at most ``points``, and ``final_...``
    means over the last ``final_updates``; evaluations are ``exact`` and ``sampled`` ``[trial, evaluated,
    quantity]``; ``parameter_norm`` is that of each of a trial's parameters at the end. ``settings``, kept as JSON,
    are every one that the run needs to be had again; ``more`` are further arrays, with their dimensions."""
    per_rollout = trainer.config.updates_per_rollout
    window = -(-len(trainer.records) // points)
    last = min(max(final_updates // per_rollout, 1), len(trainer.records))
    labels = trainer.labels()
    stacked = {name: trainer.records.column(name) for name in sorted(trainer.records.names)}
    if "loss" in labels:
        stacked["loss"] = np.stack([stacked.pop(f"loss_{term}") for term in labels["loss"][1]], axis=-1)
    variables, coordinates = {}, {"trial": trainer.trials}
    for name, values in stacked.items():  # [rollout, trial, ...]
        extra = ()
        if name in labels:
            axis, entries = labels[name]
            coordinates[axis], extra = list(entries), (axis,)
        variables[name] = (("trial", "update", *extra), np.moveaxis(windows(values, window), 0, 1))
        variables[f"final_{name}"] = (("trial", *extra), windows(values[-last:], last)[0])
    norms = {name: value.detach().reshape(len(value), -1).norm(dim=1) for name, value in trainer.parameters.items()}
    variables["parameter_norm"] = (("trial", "parameter"), torch.stack(list(norms.values()), 1).cpu().numpy())
    coordinates["parameter"] = list(norms)
    begun = np.arange(len(trainer.records)) * per_rollout
    coordinates["update"] = windows(begun[:, None].astype(np.float32), window)[:, 0]
    if len(trainer.evaluations):
        coordinates["evaluated"] = trainer.evaluations.column("updates_done")[:, 0]
    for kind in ("exact", "sampled"):  # one array each: a variable of its own for every number would double the file
        names = [name for name in sorted(trainer.evaluations.names) if name.startswith(f"{kind}_")]
        if names:
            values = np.stack([trainer.evaluations.column(name).T for name in names], axis=-1)
            variables[kind] = (("trial", "evaluated", f"{kind}_quantity"), values)
            coordinates[f"{kind}_quantity"] = [name.removeprefix(f"{kind}_") for name in names]
    data = xr.Dataset({n: (d, np.asarray(v, np.float32)) for n, (d, v) in variables.items()}, coordinates)
    for name, (dimensions, values) in (more or {}).items():
        values = np.asarray(values)
        data[name] = (dimensions, values if values.dtype.kind == "U" else values.astype(np.float32))
    data["update"].attrs["description"] = "updates done before the window's rollouts, on average"
    told = {"window": window, "final_updates": last * per_rollout}
    told |= provenance(trainer.config.device, sum(trainer.seconds.values()), trainer.update * len(trainer.trials))
    data.attrs = {"format": FORMAT, "settings": json.dumps(settings, sort_keys=True), **told}
    data.attrs["sha256"] = digest(data)
    return data


def windows(values: Float[np.ndarray, "rollouts ..."], window: int) -> Float[np.ndarray, "points ..."]:
    """Means over consecutive windows, of the last one over what is there; NaN are left out."""
    starts = np.arange(0, len(values), window)
    seen = np.isfinite(values)
    total = np.add.reduceat(np.where(seen, values, 0).astype(np.float64), starts)
    count = np.add.reduceat(seen.astype(np.float64), starts)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def provenance(device: str, seconds: float, trial_updates: int) -> dict[str, Any]:
    """Versions, commit, machine and speed of a run, for the attributes of its results."""
    used = torch.device(device)
    versions = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
    return {
        "package": version("actde-nb"), "commit": _commit(), **versions,
        "processor": torch.cuda.get_device_name(used) if used.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(), "seconds": round(seconds, 1),
        "trial_updates_per_second": round(trial_updates / seconds, 1),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT.resolve():
            return "unknown"  # the package lies inside somebody else's repository
        return git("rev-parse", "HEAD") + (" with changes" if git("status", "--porcelain", "actde_nb") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def digest(data: xr.Dataset) -> str:
    """A hash of every number and every attribute, but for the hash itself."""
    total = hashlib.sha256(_canonical({name: value for name, value in data.attrs.items() if name != "sha256"}))
    for name in sorted(map(str, data.variables)):
        values = data[name].values
        text = values.dtype.kind in "OUT"
        kind = "text" if text else values.dtype.newbyteorder("<").str
        total.update(f"{name} {data[name].dims} {values.shape} {kind}".encode() + _canonical(data[name].attrs))
        total.update("\0".join(map(str, values.ravel())).encode() if text else values.astype(kind).tobytes())
    return total.hexdigest()


def _canonical(attributes: Mapping[str, Any]) -> bytes:
    """As JSON, whichever kinds of numbers a file gives back; of what no file of ours holds, how it calls itself."""
    plain = {k: v.tolist() if isinstance(v, np.generic | np.ndarray) else v for k, v in attributes.items()}
    return json.dumps(plain, sort_keys=True, default=repr).encode()


def write(data: xr.Dataset, path: Path) -> None:
    """Write ``data`` to ``path`` in one move, in place of what is there."""
    # Compression comes with chunks, which cost more than they save in small arrays.
    encoding = {name: {"zlib": True, "shuffle": True} for name, v in data.data_vars.items() if v.nbytes > 10_000}
    # In memory: the library ends the process when a disk is full.
    replace_file(path, data.to_netcdf(None, engine="h5netcdf", encoding=encoding))


def read(path: Path) -> xr.Dataset:
    """Read what :func:`write` wrote."""
    if not path.is_file():
        raise ResultsError(f"{path} {'is no file' if path.exists() else 'does not exist'}")
    try:
        data = xr.load_dataset(path, engine="netcdf4")  # six times as fast as by h5netcdf
    # Whatever a damaged file makes the libraries raise means the same thing.
    except Exception as error:
        told = "is open elsewhere, where it may be written" if _locked(path) else f"cannot be read as netCDF: {error}"
        raise ResultsError(f"{path} {told}") from None
    if data.attrs.get("format") != FORMAT:
        raise ResultsError(f"{path} has format {data.attrs.get('format')!r}: allowed is {FORMAT!r}")
    if digest(data) != data.attrs.get("sha256"):
        raise ResultsError(f"{path} is damaged: its content is not what it was written with")
    return data


def _locked(path: Path) -> bool:
    try:
        h5py.File(path).close()
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


def settings_of(data: xr.Dataset) -> dict[str, dict[str, Any]]:
    """What was asked for: every setting, under ``config``, ``world`` and ``network``."""
    return json.loads(data.attrs["settings"])
