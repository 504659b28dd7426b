"""The few lines by which a page shows an update are the update that the book computes with."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from actde_book.ch04_more_than_one_state import learner
from actde_book.ch22_text_adventures import tables
from scipy.special import softmax

from actde_nb.pages.chapters import chapters
from actde_nb.tables import games
from actde_nb.tables.bandit import Bandit, StepSize, actde, ppo_like, simulate
from actde_nb.training import advantages, losses
from actde_nb.training.greedy import GreedyPenalty, GreedyTargets
from actde_nb.worlds.adventure import Adventure


def on_page(chapter: str, function: str) -> SimpleNamespace:
    """What the cell with this function defines."""
    [page] = chapters([chapter])
    code = [c.source for c in page.notebook.cells if c.cell_type == "code"]
    [cell] = [source for source in code if f"\ndef {function}(" in f"\n{source}"]
    names = {"np": np, "torch": torch, "softmax": softmax, "seed": 0}
    exec(cell, names)
    return SimpleNamespace(**names)


def draw(seed: int, count: int, *shape: int) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, *shape, generator=random, dtype=torch.float64))


def log_chances(*arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(-array.abs() / 2 for array in arrays)


def same(ours: torch.Tensor, theirs: torch.Tensor, *learned: torch.Tensor) -> None:
    """Equal, and with equal gradients."""
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for one in learned:
        slopes = [torch.autograd.grad(loss, one, retain_graph=True)[0] for loss in (ours, theirs)]
        torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("chapter", "function", "rule"), [("01_one", "ordinary", ppo_like), ("02_finite", "by_action", actde)]
)
def test_one_reward_an_episode(chapter: str, function: str, rule):
    played = np.random.default_rng(3).integers(3, size=(60, 1))
    said, asked = iter(played[:, 0]), []

    def choose(_, p):
        asked.append(p)
        return next(said)

    rewards, learn = [1.0, 0.5, -0.3], getattr(on_page(chapter, function), function)
    policy, critic = learn(rewards, 60, 0.3, 0.2, SimpleNamespace(choice=choose))
    rng = np.random.default_rng(5)  # it draws nothing here
    run = simulate(Bandit(rewards), rule(0.3, 0.2), rng=rng, episodes=60, actions=played, record_at=range(61))
    expected = run.values if function == "ordinary" else run.action_values
    np.testing.assert_allclose([*asked, policy], run.policy[:, 0], atol=1e-12)
    np.testing.assert_allclose(critic, expected[-1, 0], atol=1e-12)


def test_several_states():
    world, move = games.prisoners_dilemma(games.PAYOFFS["b=.7"]), on_page("04_more", "move").move
    run = learner.simulate(
        world, policy_step=StepSize(0.3), critic_step=StepSize(0.2), steps=60, rng=np.random.default_rng(4),
        record_at=range(61),
    )  # fmt: skip
    theta, q = np.full(world.shape, np.log(1 / 2)), np.zeros(world.shape)
    for erred in np.diff(run.sum_abs_errors[:, 0], axis=0):
        state, action = np.argwhere(erred)[0]
        after = world.transitions[state, action].argmax()
        move(theta, q, state, action, world.rewards[state, action], after, 0.3, 0.2, world.discount)
    np.testing.assert_allclose(theta, run.logits[-1, 0], atol=1e-12)
    np.testing.assert_allclose(q, run.q[-1, 0], atol=1e-12)


def test_three_losses_for_the_same_words():
    *logs, gain = draw(5, 4, 1, 8, 5)
    now, old, initial = log_chances(*logs)
    now.requires_grad_()
    ours = on_page("11_ppo", "three_losses").three_losses(now, old, initial, gain, 0.3)
    theirs = (
        losses.clipped_surrogate(now, old, gain, 0.2),
        losses.advantage_weighted(now, gain, 0.3, 20.0),
        losses.advantage_induced(now, initial, gain, 0.3),
    )
    page = on_page("09_weighted", "apa_loss")
    same(page.awr_loss(now, gain, 0.3), theirs[1][0], now)
    same(page.apa_loss(now, initial, gain, 0.3), theirs[2][0], now)
    for one, other in zip(ours, theirs, strict=True):
        same(one, other[0], now)
    higher = on_page("18_entropy", "clip_higher").clip_higher(now, old, gain)
    same(higher, losses.clipped_surrogate(now, old, gain, 0.2, clip_high=0.28)[0], now)


def test_the_greedy_token_is_unlearned():
    *logs, gain, best_gain = draw(6, 6, 1, 8, 5)
    now, old, best, old_best = log_chances(*logs)
    now.requires_grad_()
    best.requires_grad_()
    targets = GreedyTargets(best_gain, old_best.exp(), (best_gain - gain) / 2)
    a, b = GreedyPenalty().weights(targets, None)
    theirs = losses.clipped_surrogate(now, old, a * gain, 0.2)
    theirs = theirs + losses.clipped_surrogate(best, old_best, best_gain, 0.2, scale=b)
    ours = on_page("12_greedy", "gaa_loss").gaa_loss(now, old, gain, best, old_best, best_gain)
    same(ours, theirs[0], now, best)


@pytest.mark.parametrize("trace", [0.0, 0.5, 0.95])
def test_errors_of_words(trace: float):
    rewards, v, q = draw(7, 3, 1, 8, 5)
    page, end = on_page("15_actde", "actde_weights"), torch.zeros(1, 8, dtype=torch.float64)
    theirs = advantages.action_conditioned(rewards, v, end, q, 1.0, trace)
    same(page.actde_weights(rewards[0], v[0], q[0], trace), theirs[0])
    rewards[..., :-1] = 0.0
    same(page.less_q(rewards[0], q[0]), advantages.return_minus_q(rewards, q, 1.0)[0])


def test_squares_of_residuals():
    *logs, gain = draw(8, 3, 1, 8, 5)
    now, initial = log_chances(*logs)
    now.requires_grad_()
    rewards = gain[..., :1].expand_as(now)  # a text's reward, at each of its words
    value = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    values, page = value.expand_as(now), on_page("17_one", "vargrad")
    ours = page.trajectory_balance(now[0], initial[0], gain[0, :, 0], 0.3, value)
    same(ours, losses.squared_residual(now, initial, rewards, 0.3, values=values)[0], now)
    same(ours, losses.value_residual(values, now, initial, rewards, 0.3)[0], value)
    ours = page.vargrad(now[0], initial[0], gain[0, :, 0], 0.3)
    same(ours, losses.squared_residual(now, initial, rewards, 0.3, group_size=8)[0], now)


@pytest.mark.parametrize("kind", tables.KINDS)
def test_a_text_adventure(kind: str):
    world, page = Adventure(), on_page("22_text", "learn_from")
    known, rng = tables.begin(world, 1), np.random.default_rng(9)
    theta, critic = known.logits[0].copy(), (known.q if kind == "actde" else known.v)[0].copy()
    for _ in range(40):
        games = tables.play(world, known.policy, 1, [rng])
        known = tables.update(known, games, kind, step=0.3, ratio=2.0, discount=0.9)
        played = games.played[0, 0]
        turns = [part[0, 0][played] for part in (games.states, games.commands, games.rewards)]
        page.learn_from(list(zip(*turns, strict=True)), theta, critic, kind == "actde", 0.3, 2.0, 0.9)
    np.testing.assert_allclose(theta, known.logits[0], atol=1e-12)
    np.testing.assert_allclose(critic, (known.q if kind == "actde" else known.v)[0], atol=1e-12)
    assert critic.any()
