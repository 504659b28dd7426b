"""The entropy account, flows, laws and bonuses, against enumeration of all texts of tiny trees."""

import itertools

import numpy as np
import pytest
import torch
from actde_book.ch18_entropy_account import account, bonus, measures, programme
from tree_policies import TOY, TREE, path

from actde_nb.exact import policy_on_tree
from actde_nb.exact.policy_on_tree import TreePolicy
from actde_nb.experiments import stored_runs
from actde_nb.experiments.programme import programme as read_programme
from actde_nb.training.losses import clipped_surrogate
from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.tree import Tree, grow

# Sentences of different lengths, so that words differ in how much they leave open.
LOOP = Grammar(
    (".", "!", "a", "b", "c"),
    {
        START: {"a": (1.0, "one")},
        "one": {".": (0.3, END), "!": (0.1, END), "b": (0.4, "two"), "c": (0.2, "three")},
        "two": {".": (0.5, END), "a": (0.3, "three"), "c": (0.2, "four")},
        "three": {".": (0.4, END), "b": (0.6, "four")},
        "four": {".": (0.6, END), "!": (0.4, END)},
    },
    longest=6,
)
LARGER = grow(LOOP, "a")
TREES = pytest.mark.parametrize("tree", [TREE, LARGER], ids=["three sentences", "many sentences"])
BOOK = read_programme()
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def random(tree: Tree, seed: int = 0) -> tuple[TreePolicy, torch.Tensor]:
    """Two policies of random logits, and random rewards."""
    draw = torch.Generator().manual_seed(seed)
    policy = account.of_logits(tree, torch.randn(2, len(tree), generator=draw, dtype=torch.float64))
    return policy, torch.rand(len(tree.leaves), generator=draw, dtype=torch.float64)


def children(tree: Tree) -> list[list[int]]:
    """The children of each node, found one by one."""
    return [[c for c in range(1, len(tree)) if tree.parent[c] == node] for node in range(len(tree))]


def enumerated(tree: Tree, logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the sentences of one policy, by walking to each of them."""
    below = children(tree)
    said = [0.0] * len(tree)
    for node in range(1, len(tree)):
        rivals = below[int(tree.parent[node])]
        said[node] = logits[node] - torch.stack([logits[r] for r in rivals]).logsumexp(0)
    return torch.stack([sum(said[node] for node in path(tree, int(leaf))[1:]) for leaf in tree.leaves])


def gradient(tree: Tree, logits: torch.Tensor, of_chances) -> torch.Tensor:
    """Of a function of the sentences' log-probabilities, in the logits."""
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(of_chances(enumerated(tree, logits)), logits)[0]


def entropy(said: torch.Tensor) -> torch.Tensor:
    return -(said.exp() * said).sum(-1)


@TREES
def test_the_account_is_the_derivative_of_the_entropy(tree):
    policy, _ = random(tree)
    velocity = torch.randn(2, len(tree), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = account.account(policy, velocity)
    for trial in range(2):
        slope = gradient(tree, policy.edges[trial], entropy)
        torch.testing.assert_close(found.total[trial], slope[1:] @ velocity[trial, 1:], **CLOSE)
        logits = policy.edges[trial].clone().requires_grad_()
        visited = policy.beginnings[trial].exp()
        for node, below in enumerate(children(tree)):  # the choices alone, at the visits as they are
            if below:
                chances = torch.stack([logits[c] for c in below]).log_softmax(0)
                (local,) = torch.autograd.grad(visited[node] * entropy(chances), logits)
                torch.testing.assert_close(found.choices[trial, node], local[1:] @ velocity[trial, 1:], **CLOSE)
    assert found.choices[:, tree.leaves].abs().max() == found.visits[:, tree.leaves].abs().max() == 0


@TREES
def test_entropies_by_enumeration(tree):
    policy, _ = random(tree)
    for trial in range(2):
        said, below = enumerated(tree, policy.edges[trial]), children(tree)
        torch.testing.assert_close(account.entropy_to_go(policy)[trial, 0], entropy(said), **CLOSE)
        visited = policy.beginnings[trial].exp()
        whole = sum(visited[n] * entropy(policy.edges[trial, b]) for n, b in enumerate(below) if b)  # the chain rule
        torch.testing.assert_close(whole, entropy(said), **CLOSE)


@TREES
def test_velocities_are_gradients_of_the_expected_reward(tree):
    """The natural one is what the Fisher matrix of the texts makes of the plain one, up to a constant in each state."""
    policy, reward = random(tree)
    for trial in range(2):
        plain = gradient(tree, policy.edges[trial], lambda said: said.exp() @ reward)
        torch.testing.assert_close(account.plain_velocity(policy, reward)[trial, 1:], plain[1:], **CLOSE)
        logits = policy.edges[trial].clone()
        jacobian = torch.autograd.functional.jacobian(lambda x: enumerated(tree, x), logits)
        fisher = jacobian.T @ (policy.sentences[trial].exp()[:, None] * jacobian)
        natural = account.natural_velocity(policy, reward)[trial]
        torch.testing.assert_close((fisher @ natural)[1:], plain[1:], **CLOSE)


@TREES
def test_the_natural_gradient_moves_along_the_frontier(tree):
    """Texts gain R - E[R], and the entropy changes by minus Cov(log pi, R) over texts."""
    policy, reward = random(tree)
    velocity = account.natural_velocity(policy, reward)
    for trial in range(2):
        logits = policy.edges[trial].clone()
        jacobian = torch.autograd.functional.jacobian(lambda x: enumerated(tree, x), logits)
        said = policy.sentences[trial]
        mean = said.exp() @ reward
        torch.testing.assert_close(jacobian @ velocity[trial], reward - mean, **CLOSE)
        covariance = (said.exp() * said) @ (reward - mean)
        torch.testing.assert_close(account.account(policy, velocity).total[trial], -covariance, **CLOSE)
        variance = said.exp() @ (reward - mean) ** 2
        torch.testing.assert_close(measures.best_step(policy, reward)[trial], -covariance / variance, **CLOSE)
    single = TreePolicy(tree, policy.edges[:1], policy.leak[:1])
    best, _ = policy_on_tree.optimum(single.sentences, reward, 0.25)
    torch.testing.assert_close(account.tilt(single, reward, 4.0).sentences, best, **CLOSE)
    worth = (best.exp() @ reward).item()
    torch.testing.assert_close(account.tilt_to(single, reward, worth).sentences, best, rtol=0, atol=1e-8)


@TREES
def test_the_change_between_policies_is_booked_in_full(tree):
    before, after = random(tree)[0], random(tree, 1)[0]
    change = policy_on_tree.entropy(after.sentences) - policy_on_tree.entropy(before.sentences)
    found = account.between(before, after)
    torch.testing.assert_close(found.total, change, **CLOSE)
    positions = account.by_position(tree, found.choices + found.visits)
    assert positions.shape == (2, len(tree.levels) - 1)
    np.testing.assert_allclose(positions.sum(-1), change, rtol=1e-10)


def test_the_flow_follows_the_gradient():
    """Against many small steps; entropy changes as its account says all along."""
    policy, reward = random(LARGER)
    start = TreePolicy(LARGER, policy.edges[:1], policy.leak[:1])
    flow = account.plain_flow(start, reward, [0.0, 1.0, 2.0], 1e-9)
    logits, lost, steps = start.edges.clone(), torch.zeros(1, dtype=torch.float64), 400
    for _ in range(steps):
        now = account.of_logits(LARGER, logits)
        half = account.of_logits(LARGER, logits + account.plain_velocity(now, reward) / steps)
        velocity = account.plain_velocity(half, reward)
        lost += account.account(half, velocity).total * 2 / steps
        logits = logits + velocity * 2 / steps
    torch.testing.assert_close(flow.sentences[2:], account.of_logits(LARGER, logits).sentences, rtol=0, atol=1e-6)
    change = policy_on_tree.entropy(flow.sentences[2]) - policy_on_tree.entropy(start.sentences[0])
    torch.testing.assert_close(lost[0], change, rtol=0, atol=1e-6)


def test_a_tilt_is_found_in_a_move():
    policy, reward = random(LARGER)
    step = 1e-5
    after = account.of_logits(LARGER, policy.edges + step * policy.advantages(reward))
    found = account.moved(policy, after, reward)
    torch.testing.assert_close(found.step, torch.full((2,), step, dtype=torch.float64), rtol=1e-4, atol=0)
    torch.testing.assert_close(found.share, torch.ones(2, dtype=torch.float64), rtol=1e-4, atol=0)
    torch.testing.assert_close(found.first_order, found.along, rtol=1e-3, atol=1e-12)


def test_the_frontier_s_slopes_are_differences():
    policy, reward = random(LARGER)
    initial = policy.sentences[0]
    length = torch.tensor([len(path(LARGER, int(leaf))) - 1.0 for leaf in LARGER.leaves], dtype=torch.float64)
    nats, step = 3.0, 1e-5
    found = measures.along_frontier(initial, reward, length, [1 / (nats - step), 1 / nats, 1 / (nats + step)])
    change = {name: values[2] - values[0] for name, values in found.items()}
    assert change["entropy"] / change["reward"] == pytest.approx(found["per_reward"][1], rel=1e-6)
    assert change["kl"] / change["reward"] == pytest.approx(nats, rel=1e-6)  # dR = beta dKL
    slope = -change["reward"] / (np.exp(found["per_word"][2]) - np.exp(found["per_word"][0]))
    assert slope == pytest.approx(found["slope"][1], rel=1e-6)
    best, _ = policy_on_tree.optimum(initial, reward, 1 / nats)
    regression = np.cov(initial, reward, aweights=best.exp().numpy(), ddof=0)
    assert found["per_reward"][1] == pytest.approx(-nats - regression[0, 1] / regression[1, 1], abs=1e-10)


def test_nats_beyond_the_optimum_are_missing_entropy_and_unlikely_texts():
    policy, reward = random(LARGER)
    other, initial = policy.sentences
    worth = (other.exp() @ reward).item()
    length = torch.ones_like(reward)
    nats, kl = np.linspace(0.05, 30, 1_000), policy_on_tree.divergence(other, initial).item()
    curve = measures.along_frontier(initial, reward, length, 1 / nats)
    assert curve["reward"][0] < worth < curve["reward"][-1]
    lost, rare = measures.waste(*(np.array([x]) for x in (kl, entropy(other).item(), worth)), curve)
    best, _ = policy_on_tree.optimum(initial, reward, 1 / np.interp(worth, curve["reward"], nats))
    assert lost + rare == pytest.approx(policy_on_tree.divergence(other, best).item(), abs=1e-4)


def test_the_law_is_found_where_it_holds():
    nats = np.linspace(0.2, 1.2, 30)
    law = measures.Law(0.3, 1.4)
    found = measures.fit(nats, law(nats))
    assert found == pytest.approx(law, rel=1e-10)
    assert measures.explained(found, nats, law(nats)) == pytest.approx(1)
    assert found.ceiling == pytest.approx(1.1)


def test_what_passes_by_enumeration_of_all_draws():
    """Three sentences and what leaks: all ordered draws of three texts."""
    policy, _ = random(TREE)
    policy = TreePolicy(TREE, policy.edges, torch.tensor([0.2, 0.0], dtype=torch.float64))
    passes = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    for trial in range(2):
        inside = (1 - policy.leak[trial]).item()
        chances = [*(inside * policy.sentences[trial].exp()).tolist(), 1 - inside]
        some = different = 0.0
        for texts in itertools.product(range(4), repeat=3):
            chance, good = np.prod([chances[t] for t in texts]), {t for t in texts if t in (0, 2)}
            some, different = some + chance * bool(good), different + chance * len(good)
        assert measures.pass_at(measures.passing(policy, passes), 3)[trial].item() == pytest.approx(some, abs=1e-10)
        assert measures.distinct_passing(policy, passes, 3)[trial].item() == pytest.approx(different, abs=1e-10)


def all_texts(grammar: Grammar, tree: Tree, steps: int) -> list[tuple[int, ...]]:
    """Every text after the prompt, as the world ends them, by saying every word everywhere."""
    words = torch.cartesian_prod(*[torch.arange(len(grammar.vocabulary))] * steps)
    tokens = torch.cat([tree.prompt.expand(len(words), -1), words], 1)
    trimmed, asked = grammar.trim(tokens)
    begun = len(tree.prompt)
    return sorted({tuple(t[begun:][a[begun:]].tolist()) for t, a in zip(trimmed, asked, strict=True)})


@pytest.mark.parametrize("strength", [0.05, 0.2, 1.0])
def test_resting_places_of_a_bonus_by_enumeration(strength):
    """Over all texts of four words of the toy language: the optimum, and the policy of the token-wise bonus."""
    steps, reward = 4, torch.tensor([1.0, 0.2, 0.6], dtype=torch.float64)
    texts = all_texts(TOY, TREE, steps)
    sentences = {tuple(s[len(TREE.prompt) :][s[len(TREE.prompt) :] > 0].tolist()): r
                 for s, r in zip(TREE.sentences, reward.tolist(), strict=True)}  # fmt: skip
    assert set(sentences) <= set(texts)
    worth = {text: sentences.get(text, 0.0) for text in texts}
    beside = bonus.outside(TREE, TOY, steps)
    assert beside.log_texts.exp().sum().item() == pytest.approx(len(texts) - len(sentences))

    total = sum(np.exp(worth[text] / strength) for text in texts)
    best = bonus.in_reward(TREE, reward, beside, strength)
    chances = [np.exp(worth[text] / strength) / total for text in sentences]
    inside = (1 - best.leak) * best.sentences[0].exp()
    np.testing.assert_allclose(inside, chances, rtol=1e-10)

    def go_on(begun: tuple[int, ...]) -> tuple[float, dict[tuple[int, ...], float]]:
        """Value after a beginning, and chances of the texts that go on from it."""
        if begun in worth:
            return worth[begun], {begun: 1.0}
        words = sorted({text[len(begun)] for text in texts if text[: len(begun)] == begun})
        below = [go_on((*begun, word)) for word in words]
        shares = np.array([np.exp(value / strength) for value, _ in below])
        shares /= shares.sum()
        said = {text: s * c for s, (_, ends) in zip(shares, below, strict=True) for text, c in ends.items()}
        return float(shares @ [value for value, _ in below]), said

    _, said = go_on(())
    rest = bonus.in_loss(TREE, reward, beside, strength)
    inside = (1 - rest.leak) * rest.sentences[0].exp()
    np.testing.assert_allclose(inside, [said[text] for text in sentences], rtol=1e-10)
    assert rest.leak.item() == pytest.approx(1 - sum(said[text] for text in sentences), abs=1e-10)


def test_half_of_the_optimum_has_left_at_the_leaving_bonus():
    beside = bonus.outside(LARGER, LOOP, 7)
    reward = random(LARGER)[1]
    strength = bonus.leaving(LARGER, reward, beside)
    assert bonus.in_reward(LARGER, reward, beside, strength).leak.item() == pytest.approx(0.5, abs=1e-8)


def test_the_list_of_remedies_is_read():
    """Other names than the book's own runs have, and the same in everything but the remedy."""
    usual = stored_runs.LANGUAGE["ppo_free"].config
    assert not set(programme.remedies()) & set(BOOK.runs)
    for name, run in programme.remedies().items():
        assert name.startswith("language_")
        assert (run.config.updates, run.config.trials, run.config.learning_rate) == (400, 5, usual.learning_rate)
        assert run.config.kl_in_reward == run.config.kl_in_loss == 0


def test_something_is_expected_of_every_remedy():
    names = {name.removeprefix("language_") for name in programme.remedies()}
    expected = programme.expected()
    assert set(expected) == names
    for words in expected.values():
        assert set(words) == {"entropy", "gold"}
        assert set(words.values()) <= {"more", "less", "same"}


def test_missing_remedies_are_made_once(tmp_path, monkeypatch):
    short = stored_runs.language("ppo", updates=4, trials=2, clip_high=0.28, evaluate_every=4)
    monkeypatch.setattr(programme, "RESULTS", tmp_path)
    monkeypatch.setattr(programme, "remedies", lambda: {"language_short": short})
    assert programme.stored() == {}
    programme.main()
    assert list(programme.stored()) == ["short"]
    before = (tmp_path / "language_short.nc").stat().st_mtime_ns
    programme.main()
    assert (tmp_path / "language_short.nc").stat().st_mtime_ns == before


def test_a_higher_clip_changes_only_what_has_risen_and_was_good():
    """Gradients of the loss with both clips: the same in the first step of a rollout, where all ratios are one."""
    old = torch.tensor([[[-1.0, -2.0, -0.5, -3.0, -1.5]]], dtype=torch.float64)
    good = torch.tensor([[[1.0, 1.0, -1.0, 2.0, 0.5]]], dtype=torch.float64)

    def slope(ratio: list[float], **high: float) -> torch.Tensor:
        now = (old + torch.tensor([[ratio]], dtype=torch.float64).log()).requires_grad_()
        return torch.autograd.grad(clipped_surrogate(now, old, good, 0.2, **high).sum(), now)[0][0, 0]

    ones = [1.0] * 5
    assert torch.equal(slope(ones), slope(ones, clip_high=0.28))
    risen = [1.25, 1.1, 1.25, 1.35, 0.7]
    changed = slope(risen) != slope(risen, clip_high=0.28)
    assert changed.tolist() == [True, False, False, False, False]
