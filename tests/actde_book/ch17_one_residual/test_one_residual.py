"""Chapter 17's propositions, against sums over the sentences of small random trees, and its flows and predictions."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from actde_book.ch17_one_residual import closed_forms, ends, flows
from actde_book.ch17_one_residual.flows import Problem, State, follow, minimum, squares
from numpy.testing import assert_allclose
from tree_policies import path

from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.worlds.tree import Tree

RNG = np.random.default_rng(17)
BETA = 0.4


def random_tree(rng: np.random.Generator, depth: int = 3) -> Tree:
    """Each node has two or three children, or ends with chance one third; the last level ends."""
    parent, leaf, levels, begin = [0], [False], [slice(0, 1)], 0
    for level in range(1, depth + 1):
        above = [node for node in range(begin, len(parent)) if not leaf[node]]
        begin = len(parent)
        for node in above:
            for _ in range(rng.integers(2, 4)):
                parent.append(node)
                leaf.append(level == depth or rng.random() < 1 / 3)
        if begin == len(parent):
            break
        levels.append(slice(begin, len(parent)))
    ends_at = torch.tensor(leaf)
    leaves, inner = ends_at.nonzero()[:, 0], (~ends_at).nonzero()[:, 0]
    none = torch.zeros(len(parent), dtype=torch.long)
    return Tree(
        none[:1], torch.tensor(parent), none, ends_at.long(), tuple(levels), none[leaves][:, None], leaves, inner
    )


def random_policy(tree: Tree, rng: np.random.Generator) -> TreePolicy:
    blank = TreePolicy(tree, torch.zeros(1, len(tree), dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    return replace(blank, edges=tree.log_softmax(torch.from_numpy(rng.normal(size=len(tree))))[None])


TREES = [random_tree(np.random.default_rng(seed)) for seed in (1, 2, 5)]


class World:
    """A tree, policies and a reward, and everything about them once more by walking along each sentence."""

    def __init__(self, tree: Tree):
        self.tree = tree
        self.initial, self.policy, self.data = (random_policy(tree, RNG) for _ in range(3))
        self.reward = torch.from_numpy(RNG.uniform(size=len(tree.leaves)))
        self.problem = Problem(self.initial, self.reward, BETA)
        self.paths = [path(tree, int(leaf))[1:] for leaf in tree.leaves]

    def log_prob(self, policy: TreePolicy) -> np.ndarray:
        edges = policy.edges[0].numpy()
        return np.array([sum(edges[node] for node in nodes) for nodes in self.paths])

    def slope(self, pushes: np.ndarray) -> np.ndarray:
        """Sum over sentences of a push times the gradient of log policy by the logits."""
        chances, parent, found = self.policy.edges[0].exp().numpy(), self.tree.parent.numpy(), np.zeros(len(self.tree))
        for push, nodes in zip(pushes, self.paths, strict=True):
            for node in nodes:
                found[node] += push
                brothers = [b for b in range(1, len(self.tree)) if parent[b] == parent[node]]
                found[brothers] -= push * chances[brothers]
        return found

    def autograd(self, loss: flows.Loss, data: TreePolicy) -> np.ndarray:
        logits = self.policy.edges[0].clone().requires_grad_()
        state = State(self.initial.tree.log_softmax(logits), torch.zeros_like(logits), self.policy, data)
        return torch.autograd.grad(loss(self.problem, state), logits)[0].numpy()

    def expected(self, policy: TreePolicy, after: int, ends_: np.ndarray) -> float:
        """Mean of ``ends_`` over the sentences that go on from a node."""
        chances = np.exp(self.log_prob(policy))
        here = np.array([after in (0, *nodes) for nodes in self.paths])
        return float((chances * ends_)[here].sum() / chances[here].sum())


@pytest.fixture(params=range(len(TREES)))
def world(request) -> World:
    return World(TREES[request.param])


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0, "rewards", "residuals"])
def test_on_its_own_samples_every_value_gives_the_gradient_of_the_reward_less_kl(world, value):
    said, before = world.log_prob(world.policy), world.log_prob(world.initial)
    objective = world.slope(np.exp(said) * (world.reward.numpy() / BETA - said + before))
    assert_allclose(world.autograd(squares(value), world.policy), -objective, atol=1e-10)
    assert_allclose(world.autograd(flows.reward_less_kl, world.policy), -objective, atol=1e-10)


def test_on_other_data_the_value_matters(world):
    one, other = (world.autograd(squares(value), world.data) for value in (0.0, 0.7))
    assert abs(one - other).max() > 1e-3


def test_one_word_of_apa_and_the_kl_in_the_loss_have_one_gradient(world):
    both = [flows.advantage_squares(kept=False), flows.advantage_squares(kept=True), flows.advantage_less_kl()]
    first, *others = (world.autograd(loss, world.policy) for loss in both)
    reward, slope = world.reward.numpy(), np.zeros(len(world.tree))
    chances = np.exp(world.log_prob(world.policy))
    for node in range(1, len(world.tree)):
        above = int(world.tree.parent[node])
        gain = world.expected(world.policy, node, reward) - world.expected(world.policy, above, reward)
        ratio = float(world.policy.edges[0, node] - world.initial.edges[0, node])
        brothers = [b for b in range(1, len(world.tree)) if world.tree.parent[b] == above]
        visits = chances[[node in nodes for nodes in world.paths]].sum()
        slope[node] += visits * (ratio - gain / BETA)
        slope[brothers] -= visits * (ratio - gain / BETA) * world.policy.edges[0, brothers].exp().numpy()
    for found in (first, *others):
        assert_allclose(found, slope, atol=1e-10)


def test_the_rest_of_one_word_is_the_optimum_of_another_reward(world):
    rest = policy_on_tree.advantage_fixed_point(world.initial, world.reward, BETA)
    chances, before = rest.edges[0].exp().numpy(), world.initial.edges[0].numpy()
    passed = []
    for nodes in world.paths:
        total = 0.0
        for node in nodes:
            brothers = [b for b in range(1, len(world.tree)) if world.tree.parent[b] == world.tree.parent[node]]
            total += sum(chances[b] * (np.log(chances[b]) - before[b]) for b in brothers)
        passed.append(total)
    assert_allclose(closed_forms.paid(rest, world.initial)[0], passed, atol=1e-12)
    said, initial = world.log_prob(rest), world.log_prob(world.initial)
    mean = np.exp(said) @ world.reward.numpy()
    assert_allclose(said, initial + (world.reward.numpy() - mean) / BETA + passed, atol=1e-10)
    best, log_z = policy_on_tree.optimum(world.initial.sentences, world.reward, BETA)
    apart = float(policy_on_tree.divergence(rest.sentences, best))
    assert_allclose(apart, float(log_z) - mean / BETA + np.exp(said) @ passed, atol=1e-10)


def test_a_text_of_one_word_rests_at_the_optimum():
    world = World(random_tree(np.random.default_rng(3), depth=1))
    rest = policy_on_tree.advantage_fixed_point(world.initial, world.reward, BETA)
    assert_allclose(rest.sentences, policy_on_tree.optimum(world.initial.sentences, world.reward, BETA)[0], atol=1e-12)


@pytest.mark.parametrize("value", ["learned", "residuals"])
def test_with_z_every_data_lead_to_the_optimum(world, value):
    found = minimum(world.problem, squares(value), world.data)
    best, log_z = policy_on_tree.optimum(world.initial.sentences, world.reward, BETA)
    assert_allclose(found.sentences, best, atol=1e-5)
    exact = squares(BETA * float(log_z))
    there = replace(world.policy, edges=ends.tied(world.problem, True, 60).edges)
    state = State(there.edges[0], there.edges[0], there, world.data)
    assert float(exact(world.problem, state)) < 1e-20


def test_without_z_the_data_decide_by_lamberts_function(world):
    star = replace(world.problem, anchor=flows.flat(world.initial))
    data = flows.flat(world.data)
    target = world.log_prob(world.initial) + world.reward.numpy() / BETA
    found = closed_forms.regression_minimum(target, world.log_prob(world.data))
    assert_allclose(np.exp(found).sum(), 1, atol=1e-10)
    multiplier = np.exp(world.log_prob(world.data)) * (target - found) / np.exp(found)
    assert_allclose(multiplier, multiplier[0], rtol=1e-9)
    assert_allclose(minimum(star, squares(0.0), data).sentences[0], found, atol=1e-5)
    best, log_z = policy_on_tree.optimum(world.initial.sentences, world.reward, BETA)
    assert abs(found - best[0].numpy()).max() > 1e-3
    assert_allclose(closed_forms.regression_minimum(target, best[0].numpy()), best[0], atol=1e-10)
    assert_allclose(closed_forms.regression_minimum(target - float(log_z), target), best[0], atol=1e-7)


@pytest.mark.parametrize("excess", [-2.0, 0.3, 0.9, 1.7])
@pytest.mark.parametrize("passes", [1, 4])
def test_a_round_multiplies_a_disturbance_as_the_law_says(world, excess, passes):
    """A central difference of the logits after one round, by those before it."""
    best, log_z = policy_on_tree.optimum(world.initial.sentences, world.reward, BETA)
    optimum = ends.tied(world.problem, True, 80)
    step = 0.2
    direction = torch.from_numpy(RNG.normal(size=len(world.tree)))
    direction = direction - _mean_of_brothers(optimum, direction)
    after = []
    for sign in (-1, 1):
        edges = world.initial.tree.log_softmax(optimum.edges[0] + sign * 1e-5 * direction)
        start = replace(optimum, edges=edges[None])
        value = squares(BETA * (float(log_z) + excess))
        after.append(follow(world.problem, value, passes, step, start=start, passes=passes).edges[0])
    found = (after[1] - after[0]) / 2e-5
    law = ((1 - step * (1 - excess)) ** passes - excess) / (1 - excess)
    assert_allclose(found[1:], law * direction[1:], atol=1e-8)
    assert_allclose(best, optimum.sentences, atol=1e-10)


def _mean_of_brothers(policy: TreePolicy, values: torch.Tensor) -> torch.Tensor:
    parent = policy.tree.parent[1:]
    means = torch.zeros_like(values).index_add(0, parent, (policy.edges[0].exp() * values)[1:])
    return means[policy.tree.parent]


def test_the_longest_pass_is_where_the_multiplier_is_minus_one():
    for excess in (0.6, 1.4, 3.0):
        time = closed_forms.longest_pass(excess)
        assert_allclose((np.exp(-(1 - excess) * time) - excess) / (1 - excess), -1, atol=1e-10)
    assert closed_forms.longest_pass(1.0) == 2
    assert closed_forms.longest_pass(0.5) == closed_forms.longest_delay(-4.0) == np.inf


def test_the_longest_delay_has_a_mode_that_neither_grows_nor_falls():
    for excess in (0.6, 1.0, 3.0):
        age, turns = closed_forms.longest_delay(excess), 1j * np.sqrt(2 * excess - 1)
        assert_allclose(turns + (1 - excess) + excess * np.exp(-turns * age), 0, atol=1e-10)
        step = 0.01
        for share, stable in ((0.9, True), (1.1, False)):
            assert (closed_forms.slowest(excess, step, round(share * age / step)) < 1) == stable


def test_modes_are_those_of_the_recursion():
    excess, step, age = 1.3, 0.1, 6
    path_ = [1.0] * (age + 1)
    for _ in range(3_000):
        path_.append(path_[-1] - step * ((1 - excess) * path_[-1] + excess * path_[-1 - age]))
    late = np.abs(path_[-1_000:]).max() / np.abs(path_[-2_000:-1_000]).max()
    assert_allclose(late ** (1 / 1_000), closed_forms.slowest(excess, step, age), rtol=1e-3)


def test_old_data_leave_the_optimum_where_the_modes_say(world):
    _, log_z = policy_on_tree.optimum(world.initial.sentences, world.reward, BETA)
    optimum = ends.tied(world.problem, True, 80)
    edges = world.initial.tree.log_softmax(0.99 * optimum.edges[0] + 0.01 * world.initial.edges[0])
    start, excess = replace(optimum, edges=edges[None]), 1.5
    value = squares(BETA * (float(log_z) + excess))
    first = next(age for age in range(99) if closed_forms.slowest(excess, 0.1, age) >= 1)
    for age, back in ((first - 2, True), (first + 2, False)):
        end = follow(world.problem, value, 300, 0.1, start=start, age=age)
        near, far = (float(policy_on_tree.divergence(p.sentences, optimum.sentences)) for p in (end, start))
        assert (near < far / 10) == back


def test_the_bias_of_a_sampled_value_is_that_of_all_draws():
    chances, reward = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.1, 0.9, 0.4, 1.0])
    found = closed_forms.sampled_value_bias(np.log(chances), reward, BETA, (1, 2, 4))
    log_z = np.log(chances @ np.exp(reward / BETA))
    for bias, samples in zip(found, (1, 2, 4), strict=True):
        mean = 0.0
        for drawn in itertools.product(range(4), repeat=samples):
            drawn = list(drawn)
            mean += chances[drawn].prod() * BETA * np.log(np.exp(reward[drawn] / BETA).mean())
        assert_allclose(bias, mean - BETA * log_z, atol=1e-10)
    assert (found < 0).all()


@pytest.mark.parametrize("fit", ends.FITS, ids=str)
def test_rounds_that_lean_on_the_last_policy_collapse_as_the_formula_says(world, fit):
    star = replace(world.problem, anchor=flows.flat(world.initial))
    found = flows.rounds(star, ends.FITS[fit], 3).sentences[0]
    law = world.log_prob(world.initial) + 3 * world.reward.numpy() / BETA
    assert_allclose(found, law - np.logaddexp.reduce(law), atol=2e-5)


def test_the_threshold_of_two_arms_is_where_the_log_odds_have_risen_by_two_over_the_lead():
    """As for the honeypot in one state (chapter 13)."""
    tree = Tree(
        *(torch.tensor(x) for x in ([0], [0, 0, 0], [0, 0, 0], [0, 1, 1])), (slice(0, 1), slice(1, 3)),
        torch.zeros(2, 1, dtype=torch.long), torch.tensor([1, 2]), torch.tensor([0]),
    )  # fmt: skip
    initial = TreePolicy(tree, torch.tensor([[0.0, 0.1, 0.9]], dtype=torch.float64).log(), torch.zeros(1))
    initial.edges[0, 0] = 0
    reward = torch.tensor([1.0, 0.0], dtype=torch.float64)
    prices = np.geomspace(5, 0.02, 4_000)
    curve = closed_forms.fold(
        initial, reward, prices, lambda first, pay, price: policy_on_tree.optimum(first.sentences[0], pay, price)[0]
    )
    rate = np.linspace(0.51, 0.999, 100_000)
    risen = np.log(rate / (1 - rate)) - np.log(0.1 / 0.9)
    assert_allclose(curve.threshold, (1 / (risen * np.sqrt(rate * (1 - rate)))).min(), rtol=1e-5)
    at = curve.coefficient.argmin()
    odds = 0.1 / 0.9 * np.exp(1 / prices[at])
    assert_allclose(1 / prices[at], 2 / (2 * odds / (1 + odds) - 1), rtol=5e-3)
    assert curve.held[: at + 1].all()
    assert not curve.held[at + 1 :].any()


def test_every_method_ends_on_a_small_tree_where_it_was_said_to(world):
    bench = ends.Bench.of(world.initial, world.reward, BETA)
    found, off = ends.ends(bench, 60)
    places = {name: row["place"] for name, row in ends.predictions()["ends"]["methods"].items()}
    assert set(found) == set(places)
    assert off < 1e-8
    best, log_z = policy_on_tree.optimum(world.initial.sentences, world.reward, BETA)
    rest = policy_on_tree.advantage_fixed_point(world.initial, world.reward, BETA).sentences
    apart = float(policy_on_tree.divergence(best, rest)), float(policy_on_tree.divergence(rest, best))
    expected = {"optimum": (0, apart[0]), "apa": (apart[1], 0)}
    for name, place in places.items():
        if place in expected:
            assert_allclose(found[name], expected[place], atol=2e-6, err_msg=name)
    for name, value in (("dropped_data", 0.0), ("a_star_po_data", bench.four)):
        target = world.log_prob(world.initial) + (world.reward.numpy() - value) / BETA
        fit = closed_forms.regression_minimum(target, world.log_prob(world.initial))
        assert_allclose(found[name][0], np.exp(fit) @ (fit - best[0].numpy()), atol=2e-6, err_msg=name)
    k3 = follow(world.problem, flows.advantage_less_kl("k3"), 120, towards=flows.curved)
    gains = k3.advantages(world.reward)
    assert_allclose((k3.edges - world.initial.edges)[0, 1:].exp(), BETA / (BETA - gains[0, 1:]), atol=1e-8)


def test_a_prediction_can_fail():
    predicted = ends.predictions()["ends"]
    there = (predicted["apa"]["to_optimum"][1], 0.0)
    assert ends.held("apa", 1, there, predicted)
    assert not ends.held("apa", 1, (there[0] + 0.001, 0.0), predicted)
    assert not ends.held("dro", 1, there, predicted)
