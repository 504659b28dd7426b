"""Judges of many qualities: how noisy preferences are, from how many pairs they learn, what their optima are worth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from actde_nb.exact import policy_on_tree
from actde_nb.worlds.rewards import Scorer, learn_rewards
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
    """Judges that learned alike, and what they think best at each of some KL coefficients, from high to low."""

    correlation: Float[Tensor, "judge"]  # with gold, over the language
    kl: Float[Tensor, "judge beta"]
    gold: Float[Tensor, "judge beta"]

    @property
    def fall(self) -> Float[Tensor, "judge"]:
        """Gold lost between the best coefficient and the last."""
        return self.gold.amax(1) - self.gold[:, -1]


def panels(
    scorer: Scorer, tree: Tree, said: Float[Tensor, "sentence"], betas: Sequence[float], seeds: Iterable[int],
    pairs: int, sharpness: Sequence[float],
) -> dict[float, Panel]:  # fmt: skip
    """Judges of each sharpness with these seeds, which draw the same pairs for all of them, and their exact optima
    around the policy ``said``; coefficients in deviations of a judge."""
    gold, draws = scorer.reward("gold")(tree.sentences), [torch.Generator().manual_seed(seed) for seed in seeds]
    judged = [judge(tree.sentences) for judge in learn_rewards(scorer, tree, draws, pairs, sharpness)]
    best = [policy_on_tree.frontier(said, scores, betas, {"gold": gold}) for scores in judged]
    moments = torch.cov(torch.stack([gold, *judged]), correction=0, aweights=said.exp())
    correlation = moments[0, 1:] / (moments[0, 0] * moments.diagonal()[1:]).sqrt()
    found = correlation, *(torch.stack([curve[name] for curve in best]) for name in ("kl", "gold"))
    return {k: Panel(*(values[i :: len(sharpness)] for values in found)) for i, k in enumerate(sharpness)}
