"""What became of the predictions: each of those in predictions.yml as an expression over the stored runs."""

from collections.abc import Callable, Mapping
from functools import partial

import xarray as xr

from actde_nb.compare import intervals
from actde_nb.compare.intervals import Estimate
from actde_nb.compare.verdicts import Verdict, read_predictions
from actde_nb.experiments.pretrained_runs import Trials, curve, end, stored

Runs = Callable[[str, str], xr.Dataset]
FOUND, COLLAPSED, READABLE = 0.9, 0.3, 0.7


def reached(data: xr.Dataset, quantity: str, level: float) -> Trials:
    """Number of the first rollout at which a quantity is at ``level``; that of all rollouts where it never is."""
    there = curve(data, quantity) >= level
    return xr.where(there.any("rollout"), there.argmax("rollout"), there.sizes["rollout"]).astype(float)


def at(data: xr.Dataset, quantity: str, level: float, of: str = "score") -> Trials:
    """A quantity at the first rollout where another is at ``level``; NaN in trials where it never is."""
    there = curve(data, of) >= level
    return curve(data, quantity).isel(rollout=there.argmax("rollout")).where(there.any("rollout"))


def apart(one: Trials, other: Trials) -> Estimate:
    """Mean difference over the seeds for which both are known."""
    return intervals.mean((one - other).dropna("trial").values)


def has_found(data: xr.Dataset) -> Trials:
    """Whether the honeypot was in nine of ten completions of some rollout."""
    return (curve(data, "found") >= FOUND).any("rollout")


def collapsed(data: xr.Dataset) -> Trials:
    """Whether a run ends with few different pairs of adjacent tokens."""
    return end(data, "distinct_2") < COLLAPSED


def collapse(runs: Runs) -> Verdict:
    """See predictions.yml for this and the following."""
    free = {name: runs(f"{name}_free", "uncapped") for name in ("ppo", "rloo")}
    half = {n: (curve(d, "found") >= 0.5) & (curve(d, "distinct_2") >= READABLE) for n, d in free.items()}
    fallen = {name: collapsed(data) & has_found(data) for name, data in free.items()}
    readable = {name: stage.any("rollout") for name, stage in half.items()}
    held = all(bool(seeds.all()) for seeds in (*fallen.values(), *readable.values()))
    return Verdict(held, _counts("fallen", fallen) | _counts("readable", readable))


def reward_in_proportion(runs: Runs) -> Verdict:
    low, middle, high = (runs(name, "uncapped") for name in ("ppo", "ppo_20", "ppo_50"))
    first, second = apart(end(low, "kl"), end(middle, "kl")), apart(end(middle, "kl"), end(high, "kl"))
    fallen = int(collapsed(high).sum())
    held = first.low > 0 and second.low > 0 and not fallen
    return Verdict(held, {"first": first, "second": second, "fallen": fallen})


def loss_snaps(runs: Runs) -> Verdict:
    both = {name: runs(f"ppo_loss_{name}", "uncapped") for name in ("10", "30")}
    ends = {name: end(data, "distinct_2") for name, data in both.items()}
    between = {name: (last >= COLLAPSED) & (last <= READABLE) for name, last in ends.items()}
    fallen = {name: collapsed(data) & has_found(data) for name, data in both.items()}
    held = bool(fallen["10"].all()) and not any(bool(seeds.any()) for seeds in between.values())
    return Verdict(held, _counts("fallen", fallen) | _counts("between", between))


def gaa_delays(runs: Runs) -> Verdict:
    ppo, gaa = runs("ppo", "uncapped"), runs("gaa", "uncapped")
    forms = {"gaa": gaa, "gaa_code": runs("gaa_code", "uncapped"), "gaa_capped": runs("gaa", "capped")}
    later = apart(reached(gaa, "found", FOUND), reached(ppo, "found", FOUND))
    found = {name: has_found(data) for name, data in forms.items()}
    held = all(bool(seeds.all()) for seeds in found.values()) and later.low > 0
    return Verdict(held, {"later": later} | _counts("found", found))


def apa_keeps_its_distance(runs: Runs) -> Verdict:
    near, far = runs("apa_50", "uncapped"), runs("apa_10", "uncapped")
    kl, word = end(near, "kl"), end(near, "found")
    further, largest = apart(end(far, "kl"), kl), {"largest_kl": float(kl.max()), "largest_found": float(word.max())}
    held = largest["largest_kl"] < 3 and largest["largest_found"] < 0.3 and further.low > 0
    return Verdict(held, largest | {"further": further})


def return_less_q_is_slower(runs: Runs) -> Verdict:
    slow = runs("actde_return", "uncapped")
    others = {name: runs(name, "uncapped") for name in ("ppo", "ppo_raw")}
    later = {name: apart(reached(slow, "score", 3), reached(data, "score", 3)) for name, data in others.items()}
    more = {}
    for score in (3, 6):
        one, other = (at(data, "distinct_2", score) for data in (slow, others["ppo_raw"]))
        if (one - other).count() > 1:
            more[f"more_{score}"] = apart(one, other)
    held = all(late.low > 0 for late in later.values()) and all(found.low <= 0 for found in more.values())
    return Verdict(held, {f"later_{name}": late for name, late in later.items()} | more)


def published_actde_fails(runs: Runs) -> Verdict:
    ends = {name: end(runs(name, "uncapped"), "score") for name in ("actde_0", "actde_95", "ppo")}
    best = {f"best_{name}": float(ends[f"actde_{name}"].max()) for name in ("0", "95")}
    return Verdict(max(best.values()) < 1 < float(ends["ppo"].min()), best)


def entropy_does_not_warn(runs: Runs) -> Verdict:
    silent, warned, held = {}, {}, True
    for name in ("ppo", "rloo"):
        data = runs(name, "uncapped")
        half = curve(data, "found") >= 0.5
        first, ever = half.argmax("rollout"), half.any("rollout")
        entropy, different = (curve(data, quantity) for quantity in ("entropy", "different"))
        silent[name] = ever & (entropy.isel(rollout=first) > 0.75 * entropy.isel(rollout=0))
        warned[name] = ever & (different.isel(rollout=first) < 0.95)
        held &= all(float(seeds.mean()) > 0.5 for seeds in (silent[name], warned[name]))
    return Verdict(held, _counts("silent", silent) | _counts("warned", warned))


def cap_keeps_it_readable(runs: Runs) -> Verdict:
    capped = runs("ppo", "capped")
    found, least = has_found(capped), float(end(capped, "distinct_2").min())
    return Verdict(bool(found.all()) and least >= 0.6, {"found": int(found.sum()), "least_varied": least})


def rloo_first(runs: Runs) -> Verdict:
    sooner = apart(*(reached(runs(name, "uncapped"), "score", 3) for name in ("ppo", "rloo")))
    return Verdict(sooner.low > 0, {"sooner": sooner})


def grpo_as_published(runs: Runs) -> Verdict:
    fallen = collapsed(runs("grpo", "uncapped")) & has_found(runs("grpo", "uncapped"))
    return Verdict(bool(fallen.all()), {"fallen": int(fallen.sum())})


def awr_is_slow(runs: Runs) -> Verdict:
    less = apart(end(runs("ppo", "uncapped"), "score"), end(runs("awr", "uncapped"), "score"))
    return Verdict(less.low > 0, {"less": less})


def mood_alone(runs: Runs) -> Verdict:
    both = {name: runs(name, "none") for name in ("ppo", "rloo")}
    risen = {name: apart(end(data, "mood"), curve(data, "mood").isel(rollout=0)) for name, data in both.items()}
    fallen = {name: collapsed(data) for name, data in both.items()}
    held = all(more.low > 0 for more in risen.values()) and not any(bool(seeds.any()) for seeds in fallen.values())
    return Verdict(held, {f"risen_{name}": more for name, more in risen.items()} | _counts("fallen", fallen))


def _counts(what: str, seeds: Mapping[str, Trials]) -> dict[str, int]:
    return {f"{what}_{name}": int(there.sum()) for name, there in seeds.items()}


#: By the prediction's name in predictions.yml.
VERDICTS: dict[str, Callable[[Runs], Verdict]] = {
    function.__name__: function
    for function in (
        collapse, reward_in_proportion, loss_snaps, gaa_delays, apa_keeps_its_distance, return_less_q_is_slower,
        published_actde_fails, entropy_does_not_warn, cap_keeps_it_readable, rloo_first, grpo_as_published, awr_is_slow,
        mood_alone,
    )
}  # fmt: skip


def judged(runs: Runs = stored) -> dict[str, Verdict]:
    """Every prediction's verdict, by its name."""
    return {name: judge(runs) for name, judge in VERDICTS.items()}


predictions = partial(read_predictions, __file__)
