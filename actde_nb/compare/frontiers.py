"""Stored language runs beside each other: what their policies are worth, how far they went, and what was possible.

A run is known in two ways, exactly over all sentences of the language, and from samples, which hold outside it too.
The exact numbers are withheld (NaN) where a policy leaves the language; by default the sampled ones stand in there.
The trial is the unit. Intervals are Student's; trials of the same number share their draws between runs, so two runs
are compared trial by trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from scipy.special import rel_entr

from actde_nb import checks, paths
from actde_nb.compare import intervals
from actde_nb.compare.intervals import LEVEL, Estimate
from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.experiments import results
from actde_nb.experiments.runs import Run, evaluation

Source = Literal["best", "exact", "sampled"]
Curve = Float[np.ndarray, "trial evaluated"]
Samples = Float[np.ndarray, "trial"]


def stored(*names: str, folder: Path = paths.RESULTS) -> dict[str, xr.Dataset]:
    """Stored language runs by their names in the programme, as ``ppo_010`` or ``apa_whitened_200``."""
    return {name: results.read(folder / f"language_{name}.nc") for name in names}


def curve(data: xr.Dataset, quantity: str, source: Source = "best") -> Curve:
    """A quantity at each evaluation, before training and every so many updates (coordinate ``evaluated``).

    Quantities are ``kl``, ``entropy``, ``reward``, ``gold``, ``honeypot``; exactly only ``leak``,
    ``effective_sentences``, ``top``, ``soft_regret``, ``log_z_mean``, ``log_z_sd``, ``apa_residual``; from 64 samples
    only ``length``, ``grammatical``, ``distinct``. ``"exact"`` is NaN where withheld; ``"best"`` takes samples there.
    """
    kinds = ("exact", "sampled") if source == "best" else (source,)
    offered = {kind: [str(name) for name in data[f"{kind}_quantity"].values] for kind in kinds}
    checks.one_of("quantity", quantity, tuple(dict.fromkeys(sum(offered.values(), []))))
    found = [data[k].sel({f"{k}_quantity": quantity}).values.astype(float) for k in kinds if quantity in offered[k]]
    return found[0] if len(found) == 1 else np.where(np.isfinite(found[0]), *found)


def last(data: xr.Dataset, quantity: str, source: Source = "best") -> Samples:
    """A quantity of the policies at the end, as :func:`curve`."""
    return curve(data, quantity, source)[:, -1]


def path(
    data: xr.Dataset, x: str = "kl", y: str = "reward", source: Source = "best"
) -> Float[np.ndarray, "trial evaluated 2"]:
    """Where the trials went in the plane of two quantities, from before training to the end."""
    return np.stack([curve(data, x, source), curve(data, y, source)], axis=-1)


def estimate(data: xr.Dataset, quantity: str, source: Source = "best", level: float = LEVEL) -> Estimate:
    """Mean over trials of a quantity at the end, with Student's interval."""
    return intervals.mean(last(data, quantity, source), level)


def effective_sentences(data: xr.Dataset, level: float = LEVEL) -> Estimate:
    """How many equally likely sentences would be as diverse at the end: the geometric mean over trials, e to the mean
    entropy, with Student's interval of the entropy."""
    value, low, high, error = estimate(data, "entropy", level=level)
    return Estimate(*np.exp([value, low, high]).tolist(), np.exp(value) * error)


def least_regret(
    data: xr.Dataset, initial: TreePolicy, reward: Float[torch.Tensor, "sentence"], beta: float
) -> Samples:
    """The soft regret at the end over all texts, of which those outside the language earn nothing, from below.

    What leaks earns nothing, and leaking more or less than the initial policy costs nats. Not counted are the nats
    between the two policies' texts outside: the regret would be higher by ``beta * leak`` for each of them."""
    leak, worth, nats = (last(data, name, "exact") for name in ("leak", "reward", "kl"))
    before = initial.leak.numpy()
    _, inside = policy_on_tree.optimum(initial.sentences, reward, beta)
    spent = (1 - leak) * nats + rel_entr(leak, before) + rel_entr(1 - leak, 1 - before)
    return beta * np.logaddexp(np.log1p(-before) + inside.numpy(), np.log(before)) - (1 - leak) * worth + beta * spent


def paired(
    data: xr.Dataset, reference: xr.Dataset, quantity: str, source: Source = "best", level: float = LEVEL
) -> Estimate:
    """By how much a quantity at the end is higher than in the reference, trial by trial.

    Of trials that both have; where either has no exact number, the samples of both are compared (``"best"``)."""
    common = np.intersect1d(data["trial"], reference["trial"])
    both = [run.sel(trial=common) for run in (data, reference)]
    ways = [[last(run, quantity, way) for run in both] for way in _ways(both, quantity, source)]
    apart = [ours - theirs for ours, theirs in ways]
    return intervals.mean(apart[0] if len(apart) == 1 else np.where(np.isfinite(apart[0]), *apart), level)


def _ways(runs: Sequence[xr.Dataset], quantity: str, source: Source) -> list[Source]:
    if source != "best":
        return [source]
    ways: list[Source] = [w for w in ("exact", "sampled") if all(quantity in r[f"{w}_quantity"] for r in runs)]
    return ways or ["best"]  # which says what there is


def possible(run: Run, betas: Sequence[float] | Float[np.ndarray, "beta"]) -> dict[str, Float[np.ndarray, "beta"]]:
    """The exact frontier of a run: what the best policies have, around the network that the run starts from.

    ``betas`` are prices of a nat; the network is pretrained now if it has not been. Returns
    ``reward``, ``kl``, ``entropy``, ``gold`` and ``honeypot``, as :func:`actde_nb.exact.policy_on_tree.frontier`."""
    before = evaluation(run)
    found = policy_on_tree.frontier(before.initial.sentences[0], before.known["reward"], list(betas), before.known)
    return {name: values.numpy() for name, values in found.items()}


def beyond(
    data: xr.Dataset, frontier: Mapping[str, Float[np.ndarray, "beta"]], quantity: str, at: str = "kl"
) -> Samples:
    """By how much each trial has more of a quantity at the end than the frontier has where ``at`` is the same; past
    its ends the frontier counts as level."""
    order = np.argsort(frontier[at])
    return last(data, quantity) - np.interp(last(data, at), frontier[at][order], frontier[quantity][order])


def excess(
    frontier: Mapping[str, Float[np.ndarray, "beta"]], kl: Float[np.ndarray, "*batch"],
    reward: Float[np.ndarray, "*batch"],
) -> Float[np.ndarray, "*batch"]:  # fmt: skip
    """How many nats fewer the frontier needs for the same reward; of a reward above its end, for that at its end."""
    order = np.argsort(frontier["reward"])
    return kl - np.interp(reward, frontier["reward"][order], frontier["kl"][order])
