"""Judges of many qualities: how noisy preferences are, from how many pairs they learn, what their optima are worth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.worlds.rewards import Scorer, learn_reward
from actde_nb.worlds.tree import Tree


def agreement(gold: Float[Tensor, "sentence"], said: Float[Tensor, "sentence"], sharpness: float) -> float:
    """How often a preference of this sharpness names the better of two sentences that are not equally good, drawn with
    log-probabilities ``said``."""
    worth, place = gold.unique(return_inverse=True)
    share = torch.zeros_like(worth).index_add_(0, place, said.exp())
    apart = (worth[:, None] - worth).abs()
    pairs = share[:, None] * share * (apart > 1e-12)
    return ((pairs * (sharpness * apart).sigmoid()).sum() / pairs.sum()).item()


@dataclass(frozen=True, eq=False)
class Panel:
    """Judges that learned alike, and what they think best at each of some prices, from high to low."""

    correlation: Float[Tensor, "judge"]  # with gold, over the language
    kl: Float[Tensor, "judge beta"]
    gold: Float[Tensor, "judge beta"]

    @property
    def fall(self) -> Float[Tensor, "judge"]:
        """Gold lost between the best price and the last."""
        return self.gold.amax(1) - self.gold[:, -1]


def panel(
    scorer: Scorer, tree: Tree, said: Float[Tensor, "sentence"], betas: Sequence[float], seeds: Iterable[int],
    pairs: int, sharpness: float,
) -> Panel:  # fmt: skip
    """Judges with these seeds, and their exact optima around the policy ``said``; prices in deviations of a judge."""
    gold = {"gold": scorer.reward("gold")(tree.sentences)}
    judges = [learn_reward(scorer, tree, seed, pairs, sharpness, fresh=0) for seed in seeds]
    best = [policy_on_tree.frontier(said, judge(tree.sentences), betas, gold) for judge in judges]
    correlation = torch.tensor([judge.correlation for judge in judges], dtype=torch.float64)
    return Panel(correlation, *(torch.stack([curve[name] for curve in best]) for name in ("kl", "gold")))
