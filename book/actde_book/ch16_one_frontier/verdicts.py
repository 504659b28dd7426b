"""Which sentences of the conclusion survive: each of those in ``predictions.yml`` as an expression over the runs of one
grammar. A verdict is asked for the rows that its arguments name, and for what is known before training."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.special import rel_entr

from actde_book.ch16_one_frontier.comparison import known_exactly
from actde_nb.compare import frontiers, intervals
from actde_nb.compare.frontiers import Samples
from actde_nb.compare.intervals import Estimate
from actde_nb.compare.verdicts import Verdict, read_predictions
from actde_nb.exact import policy_on_tree
from actde_nb.experiments import results
from actde_nb.experiments.runs import LanguageWorld, evaluation
from actde_nb.experiments.stored_runs import language

PRICE = 0.1  # of a nat, for what a row misses
NO_LEAK = 1e-12  # stands in for a leak of zero in logarithms
Data = xr.Dataset
Frontier = Mapping[str, np.ndarray]


class Ground(NamedTuple):
    """What is known of a grammar before training: gold and entropy of the initial policy, what the best policy at
    :data:`PRICE` is worth over all texts, and the frontiers of gold and of the capped honeypot."""

    gold: float
    entropy: float
    value: float
    best: Frontier
    trapped: Frontier

    @classmethod
    def of(cls, grammar: str, prices: int = 160) -> "Ground":
        """Of a small network that was taught the grammar; frontiers at so many prices."""
        betas, found = np.geomspace(50, 5e-5, prices).tolist(), {}
        for reward in ("gold", "hp_cap"):
            run = language("ppo", reward=reward)
            before = evaluation(run, LanguageWorld(reward, grammar=grammar).make(run.config.seed))
            said = before.initial.sentences[0]
            best = policy_on_tree.frontier(said, before.known["reward"], betas, before.known)
            found[reward] = {name: values.numpy() for name, values in best.items()}
            if reward == "gold":
                leak, worth = before.initial.leak.item(), before.known["reward"]
                inside = policy_on_tree.optimum(said, worth, PRICE)[1].item()
                value = PRICE * np.logaddexp(np.log1p(-leak) + inside, np.log(leak))
                start = (said.exp() @ worth).item(), policy_on_tree.entropy(said).item()
        return cls(*start, value, found["gold"], found["hp_cap"])

    def dataset(self) -> xr.Dataset:
        """To be kept: for most grammars the network that was taught takes minutes to make."""
        scalars = {name: getattr(self, name) for name in ("gold", "entropy", "value")}
        curves = {"best": self.best, "trapped": self.trapped}
        data = xr.Dataset(
            {f"{of}_{name}": ("price", values) for of, curve in curves.items() for name, values in curve.items()},
            attrs={"format": results.FORMAT, **scalars},
        )
        data.attrs["sha256"] = results.digest(data)
        return data

    @classmethod
    def read(cls, path: Path) -> "Ground":
        """What :meth:`dataset` made."""
        data = results.read(path)
        curves = ({n.removeprefix(f"{of}_"): data[n].values for n in map(str, data) if n.startswith(f"{of}_")}
                  for of in ("best", "trapped"))  # fmt: skip
        return cls(*(float(data.attrs[name]) for name in ("gold", "entropy", "value")), *curves)


def ends(data: Data) -> dict[str, Samples]:
    """``reward`` and ``nats`` of each trial's end over all texts, and ``entropy``: exactly where the policy is near the
    language, so that what leaks earns nothing and its nats among itself are left out; from samples elsewhere."""
    known = known_exactly(data)[:, -1]
    leak, before = (frontiers.curve(data, "leak", "exact")[:, at].clip(min=NO_LEAK) for at in (-1, 0))
    reward, kl = (frontiers.last(data, name, "exact") for name in ("reward", "kl"))
    nats = (1 - leak) * kl + rel_entr(leak, before) + rel_entr(1 - leak, 1 - before)
    exact = {"reward": (1 - leak) * reward, "nats": nats}
    seen = {"reward": frontiers.last(data, "reward", "sampled"), "nats": frontiers.last(data, "kl", "sampled")}
    both = {name: np.where(known, exact[name], seen[name]) for name in exact}
    return both | {"entropy": frontiers.last(data, "entropy")}


def missed(data: Data, ground: Ground) -> Samples:
    """Soft regret at the end over all texts, at :data:`PRICE`."""
    end = ends(data)
    return ground.value - end["reward"] + PRICE * end["nats"]


def gained(data: Data, ground: Ground) -> Samples:
    """Gold at the end over all texts, less that at the beginning."""
    return ends(data)["reward"] - ground.gold


def near_the_optimum(ground: Ground, ppo_010: Data, rloo_010: Data, grpo_010: Data) -> Verdict:
    """See predictions.yml for this and the following."""
    found = _missed(ground, ppo=ppo_010, rloo=rloo_010, grpo=grpo_010)
    allowed = (ground.value - ground.gold) / 10
    return Verdict(all(row.high < allowed for row in found.values()), found | {"allowed": allowed})


def not_told_apart(ground: Ground, ppo_010: Data, rloo_010: Data, grpo_010: Data) -> Verdict:
    ppo, rloo, grpo = (missed(data, ground) for data in (ppo_010, rloo_010, grpo_010))
    found = {"rloo_ppo": rloo - ppo, "grpo_ppo": grpo - ppo, "grpo_rloo": grpo - rloo}
    apart = {name: intervals.mean(samples) for name, samples in found.items()}
    return Verdict(all(pair.holds(0) for pair in apart.values()), apart)


def loss_does_not_hold(ground: Ground, ppo_loss_010: Data, ppo_010: Data) -> Verdict:
    rises = [np.diff(frontiers.curve(data, "kl")[:, -2:])[:, 0] for data in (ppo_loss_010, ppo_010)]
    more = intervals.mean(rises[0] - rises[1])
    return Verdict(more.low > 0, {"more": more})


def free_ones_collapse(ground: Ground, ppo_free: Data, rloo_free: Data, grpo_free: Data) -> Verdict:
    rows = {"ppo": ppo_free, "rloo": rloo_free, "grpo": grpo_free}
    said = {name: frontiers.effective_sentences(data) for name, data in rows.items()}
    return Verdict(all(row.high < np.exp(ground.entropy) / 10 for row in said.values()), said)


def free_ones_say_less(ground: Ground, ppo_free: Data, awr_010: Data) -> Verdict:
    more = _beyond(ground, ppo=ppo_free, awr=awr_010)
    return Verdict(all(row.high < 0 and row.value < -np.log(2) for row in more.values()), more)


def anchored_ones_say_more(ground: Ground, apa_010: Data, tied_010: Data) -> Verdict:
    more = _beyond(ground, apa=apa_010, tied=tied_010)
    return Verdict(all(row.low > np.log(1.1) for row in more.values()), more)


def apa_says_more(ground: Ground, apa_010: Data, ppo_010: Data) -> Verdict:
    apa, ppo = (frontiers.beyond(data, ground.best, "entropy", "reward") for data in (apa_010, ppo_010))
    more = intervals.mean(apa - ppo)
    return Verdict(more.low > 0, {"more": more})


def published_needs_a_mask(ground: Ground, actde_000: Data, actde_000_masked: Data) -> Verdict:
    risen = _risen(ground, open=actde_000, masked=actde_000_masked)
    return Verdict(risen["open"] < 0.5 < risen["masked"], risen)


def coded_does_not_gain(ground: Ground, actde_095: Data, actde_095_masked: Data) -> Verdict:
    risen = _risen(ground, open=actde_095, masked=actde_095_masked)
    return Verdict(max(risen.values()) < 0.5, risen)


def return_gains_and_strays(ground: Ground, actde_return: Data) -> Verdict:
    more, end = intervals.mean(gained(actde_return, ground)), ends(actde_return)
    wasted = float((frontiers.excess(ground.best, end["nats"], end["reward"]) > 1).mean())
    left = int((~known_exactly(actde_return)).any(1).sum())
    return Verdict(more.low > 0 and wasted >= 0.75 and left > 0, {"more": more, "wasted": wasted, "left": left})


def one_curve(
    ground: Ground, ppo_hp_060: Data, ppo_hp_100: Data, gaa_hp_060: Data, gaa_code_hp_060: Data
) -> Verdict:  # fmt: skip
    rows, found = {"text": gaa_hp_060, "code": gaa_code_hp_060}, {}
    for quantity in ("honeypot", "gold"):
        ppo = frontiers.beyond(ppo_hp_060, ground.trapped, quantity)
        for name, data in rows.items():
            found[f"{name}_{quantity}"] = intervals.mean(frontiers.beyond(data, ground.trapped, quantity) - ppo)
    further = intervals.mean(ends(ppo_hp_060)["nats"] - ends(ppo_hp_100)["nats"])
    held = all(-0.05 < apart.low <= apart.high < 0.05 for apart in found.values()) and further.low > 0
    return Verdict(held, found | {"further": further})


def soft_tie_first(ground: Ground, soft_010: Data, ppo_010: Data, rloo_010: Data, grpo_010: Data) -> Verdict:
    rows = {"ppo": ppo_010, "rloo": rloo_010, "grpo": grpo_010}
    less = {name: intervals.mean(missed(data, ground) - missed(soft_010, ground)) for name, data in rows.items()}
    return Verdict(all(row.low > 0 for row in less.values()), less)


def pull_decides(
    ground: Ground,
    ppo_010: Data, rloo_010: Data, grpo_010: Data, apa_010: Data, tied_010: Data, soft_010: Data,
    ppo_free: Data, rloo_free: Data, grpo_free: Data, awr_010: Data, actde_return: Data,
) -> Verdict:  # fmt: skip
    pulled = [ends(data)["nats"] for data in (ppo_010, rloo_010, grpo_010, apa_010, tied_010, soft_010)]
    free = [ends(data)["nats"] for data in (ppo_free, rloo_free, grpo_free, awr_010, actde_return)]
    apart = intervals.mean(min(free, key=np.mean) - max(pulled, key=np.mean))
    return Verdict(apart.low > 0, {"apart": apart})


def _missed(ground: Ground, **rows: Data) -> dict[str, Estimate]:
    return {name: intervals.mean(missed(data, ground)) for name, data in rows.items()}


def _beyond(ground: Ground, **rows: Data) -> dict[str, Estimate]:
    """Nats of entropy that rows have more than the optimum at the same divergence."""
    return {name: intervals.mean(frontiers.beyond(data, ground.best, "entropy")) for name, data in rows.items()}


def _risen(ground: Ground, **rows: Data) -> dict[str, float]:
    """Share of trials that end with more gold than they began with."""
    return {name: float((gained(data, ground) > 0).mean()) for name, data in rows.items()}


#: By the prediction's name in predictions.yml.
VERDICTS: dict[str, Callable[..., Verdict]] = {
    function.__name__: function
    for function in (
        near_the_optimum, not_told_apart, loss_does_not_hold, free_ones_collapse, free_ones_say_less,
        anchored_ones_say_more, apa_says_more, published_needs_a_mask, coded_does_not_gain, return_gains_and_strays,
        one_curve, soft_tie_first, pull_decides,
    )
}  # fmt: skip


def needs(judge: Callable[..., Verdict]) -> tuple[str, ...]:
    """Rows that a verdict is about."""
    return tuple(inspect.signature(judge).parameters)[1:]


def rows() -> set[str]:
    """Rows that some verdict is about."""
    return {row for judge in VERDICTS.values() for row in needs(judge)}


def judged(runs: Mapping[str, Data], ground: Ground) -> dict[str, Verdict]:
    """By prediction, of those whose rows there are."""
    able = {name: judge for name, judge in VERDICTS.items() if set(needs(judge)) <= set(runs)}
    return {name: judge(ground, **{row: runs[row] for row in needs(judge)}) for name, judge in able.items()}


predictions = partial(read_predictions, __file__)
