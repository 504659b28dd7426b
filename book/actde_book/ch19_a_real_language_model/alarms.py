"""What warned in time, over stored runs on the pretrained model and on the small language.

A run is in trouble from the first rollout on in which a share of its texts, those that differ or those that are
sentences, is below one half. A quantity that is logged warns in time if it passes a level some rollouts before that,
and falsely if it passes the level in a run that never is in trouble."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from actde_nb import paths
from actde_nb.experiments import pretrained_runs, results
from actde_nb.experiments.stored_runs import GROUPS

HALF = 0.5
EVERY = 10  # rollouts from one evaluation on the small language to the next, a tenth of its training
#: Quantity -> whether it warns above its level or below, and the levels that are tried. A rise of KL is over a tenth of
#: the training, in nats; entropy per token and the deviation of advantages are shares of what they were at first.
LEVELS: dict[str, tuple[bool, tuple[float, ...]]] = {
    "kl": (True, (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25)),
    "kl_rise": (True, (0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10)),
    "different": (False, (0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)),
    "distinct_2": (False, (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)),
    "entropy": (False, (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)),
    "likeliest": (True, (0.03, 0.05, 0.08, 0.1, 0.15, 0.2)),
    "deviation": (False, (0.5, 0.4, 0.3, 0.2, 0.1)),
    "sentences": (False, (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6)),
    "judge_fall": (True, (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)),
}


@dataclass(frozen=True)
class Watched:
    """One run, as whoever trains sees it.

    Args:
        method: Whatever its settings.
        reward: The reward's name.
        lead: A warning is in time so many rollouts before trouble.
        share: What is in trouble below one half, by rollout.
        logged: Each quantity by rollout, NaN where it is not known."""

    method: str
    reward: str
    lead: int
    share: Float[np.ndarray, "rollout"] = field(repr=False)
    logged: Mapping[str, Float[np.ndarray, "rollout"]] = field(repr=False)

    @cached_property
    def trouble(self) -> int | None:
        """The rollout in which trouble begins, counted from 0; None without any."""
        return first(self.share < HALF)


@dataclass(frozen=True)
class Count:
    """Runs with trouble, those warned of in time; runs without, and the false alarms among them."""

    troubled: int = 0
    warned: int = 0
    others: int = 0
    false: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def skill(self) -> float:
        """Share warned minus share of false alarms: 1 if all is right, 0 for an alarm that knows nothing."""
        return self.warned / max(self.troubled, 1) - self.false / max(self.others, 1)


def first(passed: Bool[np.ndarray, "rollout"]) -> int | None:
    """Number of the first that is true."""
    return int(passed.argmax()) if passed.any() else None


def rise(values: Float[np.ndarray, "rollout"], rollouts: int) -> Float[np.ndarray, "rollout"]:
    """By how much a quantity grew over so many rollouts; NaN before there are as many."""
    return np.concatenate([np.full(rollouts, np.nan), values[rollouts:] - values[:-rollouts]])


def pretrained() -> list[Watched]:
    """Runs on the pretrained model, whatever the word earns; without trials of learning rates and repetitions.

    In trouble where fewer than half of the texts differ; in time is a tenth of the training before."""
    found = []
    for path in sorted(pretrained_runs.FOLDER.glob("*_*.nc")):
        name, reward, _ = path.stem.rsplit("_", 2)
        if "tried" in name or "longer" in name:
            continue
        data = results.read(path).squeeze("trial")
        of = {name: pretrained_runs.curve(data, name).values for name in ("kl", "distinct_2", "entropy", "different")}
        tenth = data.sizes["rollout"] // 10
        logged = of | {"kl_rise": rise(of["kl"], tenth), "entropy": of["entropy"] / of["entropy"][0]}
        found.append(Watched(name.split("_")[0], reward, tenth, of["different"], logged))
    return found


def repeating() -> list[Watched]:
    """Trials of chapters 11 and 16 on the small language, in trouble and in time as in :func:`pretrained`.

    Divergence, from samples, and the likeliest sentence's probability, exact, are known from one evaluation to the
    next; the probability only while 95 % of what is said is in the language."""
    return _small(("matched", "places", "sizes", "learned"), "distinct", EVERY, _of_repeating)


def leaving() -> list[Watched]:
    """The same trials, in trouble where fewer than half of the texts are sentences; in time is a rollout before.

    Gold is a judge that those trained on a learned reward do not see."""
    return _small(("matched", "places", "sizes", "learned"), "grammatical", 1, _of_leaving)


def _small(groups: Sequence[str], share: str, lead: int, log: Callable) -> list[Watched]:
    found = []
    for name, run in ((name, run) for group in groups for name, run in GROUPS[group].items()):
        data = _read(f"language_{name}.nc")
        for trial in range(data.sizes["trial"]):
            one = data.isel(trial=trial)
            of = one["sentence"].sel(measure=share).values
            found.append(Watched(run.config.algorithm, run.world.reward, lead, of, log(one)))
    return found


@cache
def _read(name: str) -> xr.Dataset:
    return results.read(paths.RESULTS / name)


def _of_repeating(data: xr.Dataset) -> dict[str, Float[np.ndarray, "rollout"]]:
    kl = data["sampled"].sel(sampled_quantity="kl").values[:-1]
    likeliest = data["exact"].sel(exact_quantity="top").values[:-1]
    logged = {"kl": kl, "kl_rise": rise(kl, 1), "likeliest": likeliest}
    logged = {name: np.repeat(values, EVERY) for name, values in logged.items()}
    entropy, deviation = data["entropy"].values, data["advantage_sd"].values
    different = data["sentence"].sel(measure="distinct").values
    return logged | {"different": different, "entropy": entropy / entropy[0], "deviation": deviation / deviation[0]}


def _of_leaving(data: xr.Dataset) -> dict[str, Float[np.ndarray, "rollout"]]:
    gold, sentences = (data["sentence"].sel(measure=name).values for name in ("gold", "grammatical"))
    return {"sentences": sentences, "judge_fall": np.maximum.accumulate(gold) - gold}


def alarm(run: Watched, quantity: str, level: float) -> int | None:
    """The first rollout at which a quantity passes a level; None where it never does."""
    above, _ = LEVELS[quantity]
    values = run.logged[quantity]
    return first(values > level if above else values < level)


def leads(runs: Sequence[Watched], quantity: str, level: float) -> list[int]:
    """How many rollouts before trouble an alarm comes, for each run that has both; below zero if it comes after."""
    both = ((run.trouble, alarm(run, quantity, level)) for run in runs)
    return [trouble - rang for trouble, rang in both if trouble is not None and rang is not None]


def count(runs: Sequence[Watched], quantity: str, level: float) -> Count:
    """What a level would have warned of."""
    total = Count()
    for run in runs:
        if run.trouble is None:
            total += Count(others=1, false=int(alarm(run, quantity, level) is not None))
        else:
            warned = any(lead >= run.lead for lead in leads([run], quantity, level))
            total += Count(troubled=1, warned=int(warned))
    return total


def best(runs: Sequence[Watched], quantity: str) -> float:
    """The level of highest skill in these runs, the first of several."""
    return max(LEVELS[quantity][1], key=lambda level: count(runs, quantity, level).skill)


def on_other_methods(runs: Sequence[Watched], quantity: str) -> Count:
    """Each method's runs, counted at the level that is best in those of all other methods."""
    total = Count()
    for method in sorted({run.method for run in runs}):
        own, others = ([run for run in runs if (run.method == method) == same] for same in (True, False))
        total += count(own, quantity, best(others, quantity))
    return total
