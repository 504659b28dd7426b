"""Rewards that differ from another in one respect, and the price at which they lead as far from where one began."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from scipy.optimize import brentq
from torch import Tensor

from actde_nb.exact.policy_on_tree import divergence, optimum
from actde_nb.worlds.grammar import Grammar
from actde_nb.worlds.rewards import Reward, Scorer


def pays_for(grammar: Grammar, first: Sequence[str], second: Sequence[str]) -> Reward:
    """The capped honeypot's reward with another prize: 1 for a word of ``second`` right after one of ``first``. Other
    sentences earn half their praise, as there."""
    places = {word: i for i, word in enumerate(grammar.vocabulary)}
    before, after = (torch.tensor([places[word] for word in words]) for words in (first, second))
    praise = Scorer.of(grammar).reward("sent")

    def reward(tokens: Int[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
        won = (torch.isin(tokens[..., :-1], before) & torch.isin(tokens[..., 1:], after)).any(-1)
        return torch.where(won, 1.0, 0.5 * praise(tokens))

    return reward


def price_at_divergence(nats: float, initial: Float[Tensor, "sentence"], reward: Float[Tensor, "sentence"]) -> float:
    """The price of a nat at which the best policy is ``nats`` away from the initial one."""

    def excess(price: float) -> float:
        return divergence(optimum(initial, reward, price)[0], initial).item() - nats

    return brentq(excess, 1e-3, 1e3, xtol=1e-10)
