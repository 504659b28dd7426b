"""Every method of the map as an exact flow, where it ends, and what became of the predictions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from actde_book.ch17_one_residual import closed_forms, flows
from actde_book.ch17_one_residual.flows import Problem, follow, minimum, squares
from actde_nb.compare.verdicts import read_predictions
from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy

LogProbs = Float[Tensor, "1 sentence"]
FITTED, LATER = 2, 10**6  # rounds that are fitted where the anchor moves, and rounds after which the formula is read


@dataclass(frozen=True)
class Bench:
    """One reward at one price: on the tree, and with a logit for each sentence; the soft value of the prompt, and the
    mean of beta log mean exp(reward / beta) over four samples of the initial policy."""

    problem: Problem
    star: Problem
    soft_value: float
    four: float

    @classmethod
    def of(cls, initial: TreePolicy, reward: Float[Tensor, "sentence"], beta: float) -> "Bench":
        value = beta * float(policy_on_tree.optimum(initial.sentences, reward, beta)[1])
        bias = closed_forms.sampled_value_bias(initial.sentences[0].numpy(), reward.numpy(), beta, [4])[0]
        problem = Problem(initial, reward, beta)
        return cls(problem, replace(problem, anchor=flows.flat(initial)), value, value + bias)

    def beside(self, share: float = 0.01) -> TreePolicy:
        """The optimum, moved by a share of the way towards the initial policy; a logit for each sentence."""
        start = self.star.anchor
        best, _ = policy_on_tree.optimum(start.sentences, self.star.reward, self.star.beta)
        logits = torch.cat([best.new_zeros(1), ((1 - share) * best + share * start.sentences)[0]])
        return replace(start, edges=start.tree.log_softmax(logits)[None])


def tied(problem: Problem, soft: bool, updates: int, step: float = 0.7) -> TreePolicy:
    """Logits log anchor + q / beta, q moved towards the value after each word: the policy's own, or the soft one."""
    tree, q = problem.anchor.tree, torch.zeros_like(problem.anchor.edges)
    ends = torch.zeros_like(q).index_copy(1, tree.leaves, problem.reward[None])
    inner = torch.zeros_like(q).index_fill(1, tree.inner, 1)
    for _ in range(updates):
        logits = (problem.anchor.edges + q / problem.beta)[0]
        edges = tree.log_softmax(logits)[None]
        softened = problem.beta * (logits - edges[0])  # the same for all words after a beginning
        value = softened if soft else (edges.exp() * q)[0]
        weights = problem.anchor.edges[0].exp() if soft else torch.ones_like(value)
        after = tree.sum_children(weights * value)
        q = q + step * (ends + inner * after - q)
    return TreePolicy(tree, edges, problem.anchor.leak)


def old_anchor(fit: Callable[[Problem], TreePolicy], bench: Bench) -> tuple[LogProbs, float]:
    """Where rounds go that are each anchored at the last policy: the formula much later, and how far two fitted rounds
    are from the formula after two, in nats."""
    star, after = bench.star, partial(policy_on_tree.optimum, bench.star.anchor.sentences, bench.star.reward)
    fitted = flows.rounds(star, fit, FITTED).sentences
    return after(star.beta / LATER)[0], float(policy_on_tree.divergence(fitted, after(star.beta / FITTED)[0]))


def _two_steps(bench: Bench, updates: int) -> TreePolicy:
    """A policy gradient without a KL: steps that are small at first, then large."""
    small, large = 30 * bench.problem.beta, 1_000 * bench.problem.beta
    first = follow(bench.problem, flows.reward_alone, updates, small)
    return follow(bench.problem, flows.reward_alone, updates, large, start=first)


#: Flows on the bench, by their name in predictions.yml, and given the number of updates.
METHODS: dict[str, Callable[[Bench, int], TreePolicy]] = {
    "ppo_reward": lambda on, n: follow(on.problem, flows.reward_less_kl, n),
    "trajectory_balance": lambda on, n: follow(on.problem, squares("learned"), n),
    "dropped": lambda on, n: follow(on.problem, squares(0.0), n),
    "a_star_po": lambda on, n: follow(on.problem, squares(on.four), n),
    "soft_q": lambda on, n: follow(on.problem, flows.soft_consistency, n),
    "soft_tie": lambda on, n: tied(on.problem, True, n),
    "apa": lambda on, n: follow(on.problem, flows.advantage_squares(kept=False), n),
    "actde_tie": lambda on, n: tied(on.problem, False, n),
    "loss_kl": lambda on, n: follow(on.problem, flows.advantage_less_kl(), n),
    "loss_k3": lambda on, n: follow(on.problem, flows.advantage_less_kl("k3"), 2 * n, towards=flows.curved),
    "apa_kept_data": lambda on, n: follow(
        on.problem, flows.advantage_squares(kept=True), n, data=on.problem.anchor, towards=flows.curved
    ),
    "free": _two_steps,
    "dro": lambda on, n: minimum(on.star, squares("learned"), on.star.anchor),
    "group_mean": lambda on, n: minimum(on.star, squares("residuals"), on.star.anchor),
    "dropped_data": lambda on, n: minimum(on.star, squares(0.0), on.star.anchor),
    "a_star_po_data": lambda on, n: minimum(on.star, squares(on.four), on.star.anchor),
}  # fmt: skip
#: One round of methods that are anchored at the last policy.
FITS: dict[str, Callable[[Problem], TreePolicy]] = {
    "rebel": lambda last: minimum(last, squares("residuals"), last.anchor),
    "awr": lambda last: follow(last, flows.imitation, 50, towards=flows.larger),
}


def ends(bench: Bench, updates: int) -> tuple[dict[str, tuple[float, float]], float]:
    """KL from each method's end to the optimum and to APA's rest, and the worst mismatch of :func:`old_anchor`."""
    problem = bench.problem
    best, _ = policy_on_tree.optimum(problem.anchor.sentences, problem.reward, problem.beta)
    rest = policy_on_tree.advantage_fixed_point(problem.anchor, problem.reward, problem.beta).sentences
    said = {name: flow(bench, updates).sentences for name, flow in METHODS.items()}
    moved = {name: old_anchor(fit, bench) for name, fit in FITS.items()}
    said |= {name: end for name, (end, _) in moved.items()}
    found = {
        name: (float(policy_on_tree.divergence(end, best)), float(policy_on_tree.divergence(end, rest)))
        for name, end in said.items()
    }
    return found, max(off for _, off in moved.values())


predictions = partial(read_predictions, __file__)


def held(name: str, which: int, found: tuple[float, float], predicted: Mapping[str, Any]) -> bool:
    """Whether a method ended where it was to end, at the price with this index."""
    place = predicted["methods"][name]["place"]
    allowed = predicted["tolerance_best" if place == "best" else "tolerance"]
    expected = (predicted[place]["to_optimum"][which], predicted[place]["to_apa"][which])
    return all(abs(value - other) <= allowed for value, other in zip(found, expected, strict=True))


def returns(bench: Bench, value: float | str, **how) -> bool:
    """Whether squares of whole texts come back to the optimum from beside it: to a tenth of the divergence."""
    star, start = bench.star, bench.beside()
    best, _ = policy_on_tree.optimum(star.anchor.sentences, star.reward, star.beta)
    end = follow(star, squares(value), start=start, **how)
    near, far = (float(policy_on_tree.divergence(policy.sentences, best)) for policy in (end, start))
    return near < far / 10
