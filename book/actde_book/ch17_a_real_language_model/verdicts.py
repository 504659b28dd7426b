"""What became of the predictions: each of those in predictions.yml as an expression over the stored runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import xarray as xr
import yaml
from jaxtyping import Bool, Float

from actde_nb.compare import intervals
from actde_nb.compare.intervals import Estimate

Curve = Float[np.ndarray, "trial rollout"]
Trials = Float[np.ndarray, "trial"]
Runs = Callable[[str, str], xr.Dataset]
FOUND, COLLAPSED, READABLE, LAST = 0.9, 0.3, 0.7, 3


def curve(data: xr.Dataset, quantity: str) -> Curve:
    """A quantity of each rollout; ``found`` is the share of completions with the word, ``mood`` the mean mood."""
    if quantity == "found":
        return (data["honeypots"] > 0).mean("completion").values
    if quantity == "hits":
        return data["honeypots"].mean("completion").values
    if quantity == "mood":
        return data["mood"].mean("completion").values
    if quantity == "different":
        return data["different"].values
    return data["record"].sel(quantity=quantity).values


def end(data: xr.Dataset, quantity: str) -> Trials:
    """Mean over the last rollouts."""
    return curve(data, quantity)[:, -LAST:].mean(1)


def reached(data: xr.Dataset, quantity: str, level: float) -> Trials:
    """Number of the first rollout at which a quantity is at ``level``; that of all rollouts where it never is."""
    there = curve(data, quantity) >= level
    return np.where(there.any(1), there.argmax(1), there.shape[1]).astype(float)


def at_score(data: xr.Dataset, quantity: str, score: float) -> Trials:
    """A quantity at the first rollout with this score; NaN in trials that never have it."""
    scores, values = curve(data, "score") >= score, curve(data, quantity)
    return np.where(scores.any(1), values[np.arange(len(values)), scores.argmax(1)], np.nan)


def apart(one: Trials, other: Float[np.ndarray, "other_trial"]) -> Estimate:
    """Mean difference over the seeds that both have, which are the first of each."""
    both = min(len(one), len(other))
    return intervals.mean(one[:both] - other[:both])


def has_found(data: xr.Dataset) -> Bool[np.ndarray, "trial"]:
    """Whether the honeypot was in nine of ten completions of some rollout."""
    return (curve(data, "found") >= FOUND).any(1)


def collapsed(data: xr.Dataset) -> Bool[np.ndarray, "trial"]:
    """Whether a run ends with few different pairs of adjacent tokens."""
    return end(data, "distinct_2") < COLLAPSED


@dataclass(frozen=True)
class Verdict:
    """Whether a prediction holds, as it was worded, and by which numbers."""

    held: bool
    numbers: Mapping[str, SupportsFloat | Estimate] = field(default_factory=dict)


def collapse(runs: Runs) -> Verdict:
    """See predictions.yml for this and the following."""
    free = [runs(name, "uncapped") for name in ("ppo_free", "rloo_free")]
    half = [(curve(data, "found") >= 0.5) & (curve(data, "distinct_2") >= READABLE) for data in free]
    fallen = [collapsed(data) & has_found(data) for data in free]
    held = all(map(np.all, fallen)) and all(stage.any(1).all() for stage in half)
    numbers = {"fallen_ppo": fallen[0].sum(), "fallen_rloo": fallen[1].sum()}
    return Verdict(held, numbers | {"readable": sum(stage.any(1).sum() for stage in half)})


def reward_in_proportion(runs: Runs) -> Verdict:
    low, middle, high = (runs(name, "uncapped") for name in ("ppo", "ppo_20", "ppo_50"))
    first, second = apart(end(low, "kl"), end(middle, "kl")), apart(end(middle, "kl"), end(high, "kl"))
    fallen = collapsed(high).sum()
    return Verdict(
        first.low > 0 and second.low > 0 and not fallen, {"first": first, "second": second, "fallen": fallen}
    )


def loss_snaps(runs: Runs) -> Verdict:
    weak, strong = runs("ppo_loss_10", "uncapped"), runs("ppo_loss_30", "uncapped")
    ends = np.concatenate([end(weak, "distinct_2"), end(strong, "distinct_2")])
    between = ((ends >= COLLAPSED) & (ends <= READABLE)).sum()
    fallen = collapsed(weak) & has_found(weak)
    numbers = {"fallen_weak": fallen.sum(), "fallen_strong": collapsed(strong).sum(), "between": between}
    return Verdict(bool(fallen.all() and not between), numbers)


def gaa_delays(runs: Runs) -> Verdict:
    ppo, gaa = runs("ppo", "uncapped"), runs("gaa", "uncapped")
    forms = {"gaa": gaa, "gaa_code": runs("gaa_code", "uncapped"), "gaa_capped": runs("gaa", "capped")}
    later = apart(reached(gaa, "found", FOUND), reached(ppo, "found", FOUND))
    found = {name: has_found(data) for name, data in forms.items()}
    held = all(map(np.all, found.values())) and later.low > 0
    return Verdict(bool(held), {"later": later} | {f"found_{name}": seeds.sum() for name, seeds in found.items()})


def apa_keeps_its_distance(runs: Runs) -> Verdict:
    near, far = runs("apa_50", "uncapped"), runs("apa_10", "uncapped")
    kl, word = end(near, "kl"), end(near, "found")
    further = apart(end(far, "kl"), kl)
    held = (kl < 3).all() and (word < 0.3).all() and further.low > 0
    return Verdict(bool(held), {"largest_kl": kl.max(), "largest_found": word.max(), "further": further})


def return_less_q_is_slower(runs: Runs) -> Verdict:
    slow = runs("actde_return", "uncapped")
    others = {name: runs(name, "uncapped") for name in ("ppo", "ppo_raw")}
    later = {name: apart(reached(slow, "score", 3), reached(data, "score", 3)) for name, data in others.items()}
    raw, more = others["ppo_raw"], {}
    for score in (3, 6):
        both = [at_score(data, "distinct_2", score)[: len(raw["trial"])] for data in (slow, raw)]
        there = np.isfinite(both[0]) & np.isfinite(both[1])
        if there.sum() > 1:
            more[f"more_{score}"] = apart(both[0][there], both[1][there])
    held = all(late.low > 0 for late in later.values()) and all(found.low <= 0 for found in more.values())
    return Verdict(held, {f"later_{name}": late for name, late in later.items()} | more)


def published_actde_fails(runs: Runs) -> Verdict:
    ends = {name: end(runs(name, "uncapped"), "score") for name in ("actde_0", "actde_95", "ppo")}
    held = ends["actde_0"].max() < 1 and ends["actde_95"].max() < 1 < ends["ppo"].min()
    return Verdict(bool(held), {"best_0": ends["actde_0"].max(), "best_95": ends["actde_95"].max()})


def entropy_does_not_warn(runs: Runs) -> Verdict:
    silent, warned, seeds = 0, 0, 0
    for data in (runs("ppo", "uncapped"), runs("rloo", "uncapped")):
        found, entropy = curve(data, "found") >= 0.5, curve(data, "entropy")
        for trial, at in enumerate(found.argmax(1)):
            seeds += 1
            silent += found[trial, at] and entropy[trial, at] > 0.75 * entropy[trial, 0]
            warned += found[trial, at] and curve(data, "different")[trial, at] < 0.95
    return Verdict(bool(silent > seeds / 2 and warned > seeds / 2), {"silent": silent, "warned": warned, "of": seeds})


def cap_keeps_it_readable(runs: Runs) -> Verdict:
    capped = runs("ppo", "capped")
    found, varied = has_found(capped), end(capped, "distinct_2")
    return Verdict(bool(found.all() and (varied >= 0.6).all()), {"found": found.sum(), "least_varied": varied.min()})


def rloo_first(runs: Runs) -> Verdict:
    sooner = apart(*(reached(runs(name, "uncapped"), "score", 3) for name in ("ppo", "rloo")))
    return Verdict(sooner.low > 0, {"sooner": sooner})


def grpo_as_published(runs: Runs) -> Verdict:
    fallen = collapsed(runs("grpo", "uncapped")) & has_found(runs("grpo", "uncapped"))
    return Verdict(bool(fallen.all()), {"fallen": fallen.sum()})


def awr_is_slow(runs: Runs) -> Verdict:
    less = apart(end(runs("ppo", "uncapped"), "score"), end(runs("awr", "uncapped"), "score"))
    return Verdict(less.low > 0, {"less": less})


def mood_alone(runs: Runs) -> Verdict:
    both = {name: runs(name, "none") for name in ("ppo", "rloo")}
    risen = {name: apart(end(data, "mood"), curve(data, "mood")[:, 0]) for name, data in both.items()}
    fallen = sum(collapsed(data).sum() for data in both.values())
    held = all(more.low > 0 for more in risen.values()) and not fallen
    return Verdict(held, {f"risen_{name}": more for name, more in risen.items()} | {"fallen": fallen})


#: By the prediction's name in predictions.yml.
VERDICTS: dict[str, Callable[[Runs], Verdict]] = {
    function.__name__: function
    for function in (
        collapse, reward_in_proportion, loss_snaps, gaa_delays, apa_keeps_its_distance, return_less_q_is_slower,
        published_actde_fails, entropy_does_not_warn, cap_keeps_it_readable, rloo_first, grpo_as_published, awr_is_slow,
        mood_alone,
    )
}  # fmt: skip


def predictions() -> dict[str, dict[str, Any]]:
    """What was predicted, and by which criterion it was to be judged."""
    return yaml.safe_load(Path(__file__).with_name("predictions.yml").read_text(encoding="utf-8"))
