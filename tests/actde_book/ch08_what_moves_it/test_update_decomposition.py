"""The split of an update: against a table where everything can be worked out, and against the trainer itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from actde_book.ch08_what_moves_it import update_decomposition
from table import Table

from actde_nb.networks.gpt import GPTConfig
from actde_nb.networks.policies import Network
from actde_nb.training.config import Config
from actde_nb.training.objective import prepare
from actde_nb.training.trainer import Trainer
from actde_nb.worlds.prisoner import PrisonersDilemma

TINY = Network(GPTConfig(layers=1, heads=2, width=4, block_size=24))
SHORT = Config(trials=2, updates=8, batch=6, steps=20, learning_rate=1e-2, checkpoint_every=4)
ROW = replace(SHORT, algorithm="actde_logit", optimiser="sgd", weight_decay=0.3, gradient_clip=0.0)


def begun(config: Config, policy=TINY, world=None) -> Trainer:
    work = Trainer(world or PrisonersDilemma(), policy, config)
    work.run()
    return work


def assert_same(a: Trainer, b: Trainer) -> None:
    for name, value in a.parameters.items():
        torch.testing.assert_close(value, b.parameters[name], rtol=0, atol=1e-6, msg=name)


# Standing still.


def test_pushes_on_a_table_by_hand():
    """With the logit loss -mean(A theta) a descent step adds lr mean(A 1[s, a]) to the logit of a after s."""
    work = begun(ROW, Table())
    found = update_decomposition.pushes(work, 3, seed=5)
    with update_decomposition.aside(work, 6):
        for rollout in range(3):
            learned = prepare(work.play(), work.config)
            for trial in range(2):
                before, now = (t[trial].numpy() for t in (learned.rollout.context, learned.rollout.taken))
                sign = np.where(now == 0, 1, -1)
                for move in (0, 1):
                    expected = 0.01 * (learned.advantages[trial].numpy() * sign * (before == move)).mean()
                    push = found["plain"].sel(force="policy").values[trial, rollout, move]
                    assert push == pytest.approx(expected, rel=1e-5)
    # The table shares nothing: values and q leave its logits alone, and decay shrinks each gap by lr 0.3.
    assert np.abs(found["plain"].sel(force=["value", "q"])).max() == 0
    gap = (work.parameters["logits"][..., 0] - work.parameters["logits"][..., 1]).detach().numpy()
    np.testing.assert_allclose(found["decay"], -0.01 * 0.3 * gap, rtol=1e-6)


def test_adams_push_does_not_know_the_size_of_the_reward():
    """Without a baseline, rewards ten times as large make gradients ten times as large."""
    config = replace(SHORT, algorithm="reinforce", epsilon=1e-30)
    games = [PrisonersDilemma(scale * PrisonersDilemma().payoffs) for scale in (1, 10)]
    small, large = (update_decomposition.pushes(Trainer(game, Table(), config), 4) for game in games)
    np.testing.assert_allclose(large["plain"], 10 * small["plain"], rtol=1e-6)
    np.testing.assert_allclose(large["adam"], small["adam"], rtol=1e-6)
    np.testing.assert_allclose(large["gradient"], 10 * small["gradient"], rtol=1e-6)


def test_adams_push_of_one_certain_gradient_is_a_whole_step():
    """At a fresh table, where every rollout agrees on the sign, each logit moves by about the learning rate."""
    config = replace(SHORT, algorithm="reinforce", batch=64, discount=0.0)
    found = update_decomposition.pushes(Trainer(PrisonersDilemma(), Table(), config), 20)
    # Defecting earns 1.5 and 1.02 more; a gap is made of two logits, and here -E[A pi] has the opposite sign.
    np.testing.assert_allclose(found["adam"].sel(force="policy").mean("rollout"), -2 * 0.01, rtol=0.1)


def test_looking_changes_nothing():
    work, other = begun(SHORT), begun(SHORT)
    update_decomposition.pushes(work, 2)
    update_decomposition.pushes(work, 2, algorithm="ppo")
    work.step()
    other.step()
    assert_same(work, other)


def test_other_algorithms_forces_at_the_same_place():
    work = begun(SHORT)
    assert update_decomposition.pushes(work, 2)["force"].values.tolist() == ["policy", "value", "q"]
    assert update_decomposition.pushes(work, 2, algorithm="ppo")["force"].values.tolist() == ["policy", "value"]


# Walking on.


@pytest.mark.parametrize(
    "changes",
    [{}, {"algorithm": "ppo"}, {"optimiser": "sgd"}, {"gradient_clip": 1e-3}, {"epsilon": 1e-3, "weight_decay": 0.0}],
    ids=str,
)
def test_entries_add_up_to_what_the_trainer_does(changes):
    config = replace(SHORT, **{"weight_decay": 3.0, **changes})
    work, other = begun(config), begun(config)
    ledger = update_decomposition.Ledger(work)
    start = ledger.gap(work.parameters).detach().numpy()
    ledger.run(8)
    for _ in range(2):
        other.step()
    assert_same(work, other)
    data = ledger.dataset()
    assert data["update"].values.tolist() == list(range(8, 16))
    np.testing.assert_allclose(data["gap"].isel(update=0), start, atol=1e-6)
    moved = ledger.gap(work.parameters).detach().numpy() - start
    np.testing.assert_allclose(data["push"].sum(["force", "update"]), moved, atol=1e-5)
    # Rounding, next to steps of 1e-2; Adam enlarges it where a gradient is zero but for rounding.
    assert data["unexplained"].max() < 1e-4


def test_on_a_table_nothing_is_left_for_curvature():
    work = begun(replace(ROW, optimiser="adamw", algorithm="actde"), Table())
    ledger = update_decomposition.Ledger(work)
    ledger.run(8)
    push = ledger.dataset()["push"]
    assert np.abs(push.sel(force="curvature")).max() < 1e-12
    assert np.abs(push.sel(force=["value", "q"])).max() == 0
    assert np.abs(push.sel(force="policy")).min() > 0


def test_what_came_before_fades_by_beta():
    """Adam's memory of earlier gradients shrinks by beta1 an update, under a scale that hardly moves."""
    work = begun(SHORT)
    ledger = update_decomposition.Ledger(work)
    remembered = ledger.means["before"]
    ledger.run(4)
    torch.testing.assert_close(ledger.means["before"], remembered * SHORT.beta1**4)


def test_sizes_are_those_of_the_steps_taken():
    work = begun(replace(SHORT, weight_decay=0.0))
    there = update_decomposition.flat(work.parameters)
    ledger = update_decomposition.Ledger(work)
    ledger.update(prepare(work.play(), work.config))
    found, moved = update_decomposition.sizes(work), update_decomposition.flat(work.parameters) - there
    np.testing.assert_allclose(found["step"], moved.square().mean(1).sqrt().numpy(), rtol=1e-4)
    np.testing.assert_allclose(found["step"], ledger.dataset()["step"][:, -1], rtol=1e-4)


def test_first_gradient_is_all_that_adam_knows():
    """After one update the running mean square, corrected, is the gradient's square, and the step is its sign."""
    config = replace(SHORT, gradient_clip=0.0, updates_per_rollout=1, weight_decay=0.0)
    work = Trainer(PrisonersDilemma(), TINY, config)
    ledger = update_decomposition.Ledger(work)
    ledger.update(prepare(work.play(), work.config))
    found = update_decomposition.sizes(work)
    np.testing.assert_allclose(found["gradient"], ledger.dataset()["gradient"][:, 0], rtol=1e-5)
    # Some weights have no gradient: the positions that no move has reached.
    assert (found["step"] < config.learning_rate).all()
    assert (found["step"] > config.learning_rate / 2).all()


# Branching off.


@pytest.mark.parametrize("changes", [{}, {"optimiser": "sgd"}], ids=str)
def test_a_branch_without_changes_is_the_same_run(changes):
    config = replace(SHORT, **changes)
    work = begun(config)
    twin, other = (
        update_decomposition.branch(work, updates=16),
        update_decomposition.branch(work, updates=16, epsilon=1e-2, learning_rate=1e-3),
    )
    twin.run()
    other.run()
    whole = begun(replace(config, updates=16))
    assert_same(twin, whole)
    assert len(twin.records) == 4
    np.testing.assert_array_equal(twin.records[-1]["outcome_share"], whole.records[-1]["outcome_share"])
    assert work.update == 8
    gone = (other.parameters["policy.weight"] - whole.parameters["policy.weight"]).abs().max()
    assert gone > 1e-3


def test_a_branch_leaves_the_run_it_came_from_alone():
    work, other = begun(SHORT), begun(SHORT)
    update_decomposition.branch(work, updates=16).run()
    work.step()
    other.step()
    assert_same(work, other)


def test_a_branch_with_another_optimiser_starts_without_memory():
    work = begun(SHORT)
    assert not update_decomposition.branch(work, updates=16, optimiser="sgd").optimiser.state
