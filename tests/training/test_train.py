"""The loop: against the published way written out, trial by trial, across a kill, and on a table."""

import dataclasses

import numpy as np
import pytest
import torch
from arms import Arms
from published_loop import Player, PublishedLoop
from safetensors.torch import save_file
from table import Table

from actde_nb.checks import CheckpointError, Diverged, SettingError
from actde_nb.networks.gpt import GPTConfig, Outputs
from actde_nb.networks.policies import Boltzmann, Network, Policy, SeparateCritic
from actde_nb.training.checkpoint import load, save
from actde_nb.training.config import RESUMABLE, Config
from actde_nb.training.objective import prepare, terms
from actde_nb.training.trainer import Trainer, clip_gradients, generator, one_thread
from actde_nb.worlds.prisoner import PrisonersDilemma

TINY = Network(GPTConfig(layers=1, heads=2, width=4, block_size=16))
SHORT = Config(trials=3, updates=8, batch=6, steps=10, learning_rate=1e-2, checkpoint_every=4)


def trained(config: Config = SHORT, policy: Policy = TINY, trials=None) -> Trainer:
    trainer = Trainer(PrisonersDilemma(), policy, config, trials)
    trainer.run()
    return trainer


def same(a: Trainer, b: Trainer) -> None:
    """Bit by bit."""
    for name, value in a.parameters.items():
        assert torch.equal(value, b.parameters[name]), name
    assert len(a.records) == len(b.records)
    for one, other in zip(a.records, b.records, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


# Against the published loop.


@pytest.mark.parametrize("algorithm", ["ppo", "actde"])
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_rollouts_are_those_of_the_published_loop(algorithm, optimiser):
    config = Config(algorithm=algorithm, trials=2, updates=8, batch=5, steps=12, optimiser=optimiser)
    trainer = Trainer(PrisonersDilemma(), Network(GPTConfig()), config)
    start = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    loops, draws = [], []
    for trial in range(2):
        player = Player().load_stacked({name: value[trial] for name, value in start.items()})
        loops.append(PublishedLoop(player, trainer.world.payoffs.tolist(), algorithm, optimiser))
        draws.append(generator(0, trial, "play"))
    lasts = [(torch.rand(5, generator=draw) >= 0.5).long() for draw in draws]
    for _ in range(2):
        trainer.step()
        for trial, loop in enumerate(loops):
            tokens = loop.rollout(lasts[trial], torch.rand(5, 12, generator=draws[trial]))
            lasts[trial] = tokens[:, -1]
            torch.testing.assert_close(lasts[trial], trainer.last[trial])
    for trial, loop in enumerate(loops):
        for name, expected in loop.player.stacked().items():
            moved, expected = trainer.parameters[name][trial] - start[name][trial], expected - start[name][trial]
            error = (moved - expected).norm() / max(expected.norm(), 1e-6)
            # Adam's first steps are little more than the gradient's sign. Where a gradient is zero but for rounding
            # (no shift of all keys changes attention), that sign is anyone's.
            assert error < (1e-3 if optimiser == "sgd" else 0.02) or name == "blocks.attention.bias", (name, error)


# Trials.


def test_a_trial_alone_is_the_trial_in_the_stack():
    together, alone = trained(), trained(trials=[2])
    for name, value in together.parameters.items():
        torch.testing.assert_close(alone.parameters[name][0], value[2], atol=1e-5, rtol=1e-4)
    for one, other in zip(together.records, alone.records, strict=True):
        np.testing.assert_allclose(one["outcome_share"][2], other["outcome_share"][0], atol=1e-6)


def test_trials_differ_and_seeds_differ():
    trainer = trained()
    assert not torch.equal(trainer.parameters["policy.weight"][0], trainer.parameters["policy.weight"][1])
    other = trained(dataclasses.replace(SHORT, seed=1))
    assert not torch.equal(trainer.parameters["policy.weight"], other.parameters["policy.weight"])


def test_a_trial_that_breaks_the_others_gradients_would_be_seen():
    # One trial's rewards a thousandfold: the others' parameters do not move by a bit.
    class Unequal(PrisonersDilemma):
        def rewards(self, tokens):
            rewards = super().rewards(tokens).clone()
            rewards[1] *= 1000
            return rewards

    plain, unequal = trained(), Trainer(Unequal(), TINY, SHORT)
    unequal.run()
    for name, value in plain.parameters.items():
        assert torch.equal(value[0], unequal.parameters[name][0])
        assert torch.equal(value[2], unequal.parameters[name][2])
    assert not torch.equal(plain.parameters["policy.weight"][1], unequal.parameters["policy.weight"][1])


def test_gradients_are_clipped_trial_by_trial():
    # Norms 5 and .5 over both parameters: the first is scaled to 1, the second left alone.
    a, b = torch.zeros(2, 1), torch.zeros(2, 1, 1)
    a.grad, b.grad = torch.tensor([[3.0], [0.3]]), torch.tensor([[[4.0]], [[0.4]]])
    torch.testing.assert_close(clip_gradients([a, b], 1.0), torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(a.grad, torch.tensor([[0.6], [0.3]]))
    torch.testing.assert_close(b.grad, torch.tensor([[[0.8]], [[0.4]]]))
    torch.testing.assert_close(clip_gradients([a, b], 0.0), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(a.grad, torch.tensor([[0.6], [0.3]]))


def test_a_parameter_that_the_loss_does_not_use_has_no_gradient():
    a, b, c = torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2, 1)
    a.grad, b.grad = torch.tensor([[0.0], [0.3]]), torch.zeros(2, 1)
    torch.testing.assert_close(clip_gradients([a, b, c], 1.0), torch.tensor([0.0, 0.3]))
    assert a.grad is not None
    assert b.grad is None
    assert c.grad is None


# Rollouts.


def test_the_next_rollout_starts_from_the_last_move():
    trainer = Trainer(PrisonersDilemma(), TINY, SHORT)
    first = trainer.play()
    assert first.tokens.shape == (3, 6, 11)
    assert first.rewards.shape == first.values.shape == (3, 6, 10)
    second = trainer.play()
    torch.testing.assert_close(second.tokens[..., 0], first.tokens[..., -1])
    # The earlier context is forgotten: v of the start depends on the one move alone.
    said = TINY.forward(trainer.parameters, second.tokens[..., :1])
    torch.testing.assert_close(second.values[..., 0], said.values[..., 0].detach())


def test_a_world_that_ends_starts_afresh_and_counts_no_next_value():
    trainer = Trainer(Arms(), Table(), dataclasses.replace(SHORT, steps=1))
    trainer.step()
    assert (trainer.last.sum() > 0).item()
    rollout = trainer.play()
    assert (rollout.tokens[..., 0] == 0).all()
    assert (rollout.next_value == 0).all()


# What cannot go on stops.


def test_a_nan_stops_the_run_and_is_named():
    trainer = Trainer(PrisonersDilemma(), TINY, SHORT)
    trainer.step()
    with torch.no_grad():
        trainer.parameters["value.bias"][1] = torch.nan
    with pytest.raises(Diverged, match="update 4: loss term policy of trial 1 is nan"):
        trainer.step()


def test_a_policy_of_another_vocabulary_than_the_worlds_is_refused():
    with pytest.raises(SettingError, match="vocabulary = 3: allowed is the world's, 2"):
        Trainer(PrisonersDilemma(), Table(3), SHORT)


def test_an_unknown_trial_is_refused():
    with pytest.raises(ValueError, match=r"trials = \[3\]: allowed are some of 0 to 2"):
        Trainer(PrisonersDilemma(), TINY, SHORT, [3])


@pytest.mark.parametrize("device", ["gpu", "cuda:77"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(SettingError, match=f"device = '{device}': allowed are those PyTorch finds here"):
        Trainer(PrisonersDilemma(), TINY, dataclasses.replace(SHORT, device=device))


@pytest.mark.parametrize(("epsilon", "ratio"), [(1e-8, 1.0), (1e3, 0.1)])
def test_a_large_epsilon_makes_adams_steps_shrink_with_the_gradient(epsilon, ratio):
    """Adam's first step has the learning rate's size, or with a huge epsilon that of the gradient over it."""
    steps = []
    for scale in (1.0, 0.1):
        trainer = Trainer(PrisonersDilemma(), TINY, dataclasses.replace(SHORT, epsilon=epsilon, weight_decay=0.0))
        before = trainer.parameters["policy.weight"].detach().clone()
        trainer.parameters["policy.weight"].grad = scale * torch.ones_like(before)
        trainer.optimiser.step()
        steps.append((trainer.parameters["policy.weight"].detach() - before).abs().mean())
    assert (steps[1] / steps[0]).item() == pytest.approx(ratio, rel=1e-2)


# Checkpoints.


@pytest.mark.parametrize("settings", [{}, {"optimiser": "sgd"}, {"algorithm": "ppo"}])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_resumed_run_is_the_run(tmp_path, settings, dropout):
    policy = dataclasses.replace(TINY, config=dataclasses.replace(TINY.config, dropout=dropout))
    config = dataclasses.replace(SHORT, updates=16, **settings)
    whole = trained(config, policy)
    interrupted = Trainer(PrisonersDilemma(), policy, config)
    for _ in range(2):
        interrupted.step()
    save(interrupted, tmp_path / "run.safetensors")
    interrupted.step()  # lost in the kill
    resumed = Trainer(PrisonersDilemma(), policy, config)
    load(resumed, tmp_path / "run.safetensors")
    assert resumed.update == 8
    resumed.run()
    same(whole, resumed)
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_finished_run_can_go_on(tmp_path):
    short = trained()
    save(short, tmp_path / "run.safetensors")
    longer = Trainer(PrisonersDilemma(), TINY, dataclasses.replace(SHORT, updates=12))
    load(longer, tmp_path / "run.safetensors")
    longer.run()
    same(trained(dataclasses.replace(SHORT, updates=12)), longer)


def test_checkpoints_are_saved_at_the_interval_and_at_the_end():
    seen = []
    Trainer(PrisonersDilemma(), TINY, dataclasses.replace(SHORT, updates=20, checkpoint_every=8)).run(
        save=lambda t: seen.append(t.update)
    )
    assert seen == [8, 16, 20]


def test_what_is_no_checkpoint_of_this_run_is_refused(tmp_path):
    path, trainer = tmp_path / "run.safetensors", trained()
    save(trainer, path)
    for other in (
        Trainer(PrisonersDilemma(), TINY, dataclasses.replace(SHORT, seed=1)),
        Trainer(PrisonersDilemma("b=1"), TINY, SHORT),
        Trainer(PrisonersDilemma(), Table(), SHORT),
        Trainer(PrisonersDilemma(), TINY, SHORT, [0, 1, 2][:2]),
    ):
        with pytest.raises(CheckpointError, match="belongs to another run"):
            load(other, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read as actde-nb checkpoint"):
        load(trainer, path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="has format None"):
        load(trainer, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(trainer, tmp_path / "missing.safetensors")


def test_every_setting_but_those_that_may_change_is_part_of_the_identity():
    told = Trainer(PrisonersDilemma(), TINY, SHORT).identity()
    for field in dataclasses.fields(Config):
        assert (f'"{field.name}":' in told) == (field.name not in RESUMABLE), field.name


# One loop, two worlds, and a policy that is a table.


def tabular(algorithm: str, **settings) -> Config:
    defaults = {
        "algorithm": algorithm, "trials": 2, "updates": 100, "updates_per_rollout": 1, "checkpoint_every": 100,
        "batch": 4, "steps": 5, "gae_lambda": 0.0, "optimiser": "sgd", "learning_rate": 0.5, "gradient_clip": 0.0,
        "weight_decay": 0.0,
    }  # fmt: skip
    return Config(**{**defaults, **settings})


def telescoping_error(trainer: Trainer) -> float:
    # With policy loss -A theta and q loss (q - G)^2 / 2 both move by the same error: theta - q stays where it was.
    return (trainer.parameters["logits"] - trainer.parameters["q"]).abs().max().item()


@pytest.mark.parametrize("world", [PrisonersDilemma(), Arms()])
def test_errors_telescope_in_a_table(world):
    trainer = Trainer(world, Table(), tabular("actde_logit"))
    trainer.run()
    assert trainer.parameters["q"].abs().max() > 0.1
    assert telescoping_error(trainer) < 1e-12


@pytest.mark.parametrize(
    "changes", [{"algorithm": "actde_score"}, {"gae_lambda": 0.95}, {"updates_per_rollout": 4}, {"whiten": True}]
)
def test_each_departure_from_the_tabular_update_breaks_the_telescope(changes):
    trainer = Trainer(PrisonersDilemma(), Table(), tabular("actde_logit", **changes) if "algorithm" not in changes
                      else tabular(**changes))  # fmt: skip
    trainer.run()
    assert telescoping_error(trainer) > 1e-3


def test_the_bandit_ends_at_the_softmax_of_its_rewards():
    # Rewards 1 and .5, equal steps, q from zero: the table's logits are its q, so 1 and .5.
    trainer = Trainer(Arms(), Table(), tabular("actde_logit", steps=1, batch=8, updates=400, checkpoint_every=400))
    trainer.run()
    expected = torch.tensor([1.0, 0.5], dtype=torch.float64).expand(2, 2)
    torch.testing.assert_close(trainer.parameters["logits"][:, 0].detach(), expected, atol=1e-6, rtol=0)


def test_one_update_of_a_table_by_hand():
    # One play of one pull, from v = 0 and q = 0; the reward is 1 or .5. Steps of 1/2 on -A theta and (q - r)^2 / 2.
    trainer = Trainer(Arms(), Table(), tabular("actde_logit", trials=1, batch=1, steps=1, updates=1,
                                               checkpoint_every=1))  # fmt: skip
    trainer.step()
    arm = int(trainer.last)
    expected = torch.zeros(1, 2, 2, dtype=torch.float64)
    expected[0, 0, arm] = 0.5 * (1.0, 0.5)[arm]
    torch.testing.assert_close(trainer.parameters["logits"].detach(), expected)
    torch.testing.assert_close(trainer.parameters["q"].detach(), expected)


# The table of algorithms, row by row.


def outputs_and_batch(config: Config):
    trainer = Trainer(PrisonersDilemma(), TINY, config)
    rollout = trainer.play()
    return trainer, TINY.forward(trainer.parameters, rollout.context), prepare(rollout, config)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("ppo", {"policy", "value"}),
        ("actde", {"policy", "value", "q"}),
        ("actde_expectile", {"policy", "value", "q"}),
        ("rejection", {"policy"}),
        ("reinforce", {"policy"}),
        ("critic", {"value", "q"}),
    ],
)
def test_a_row_pays_for_its_own_terms_only(algorithm, expected):
    trainer, outputs, batch = outputs_and_batch(dataclasses.replace(SHORT, algorithm=algorithm))
    parts = terms(outputs, batch, trainer.config)
    assert set(parts) == expected
    torch.stack(list(parts.values())).sum().backward()
    for head in ("policy", "value", "q"):
        reached = trainer.parameters[f"{head}.weight"].grad is not None
        assert reached == (head in expected), head


def test_coefficients_and_targets_of_actde():
    trainer, outputs, x = outputs_and_batch(SHORT)
    parts = terms(outputs, x, SHORT)
    rollout = x.rollout
    # At the first inner update the ratio is one, v is the old v and nothing is clipped.
    torch.testing.assert_close(parts["policy"], -x.advantages.mean((1, 2)), atol=1e-6, rtol=1e-4)
    targets = x.targets
    torch.testing.assert_close(parts["value"], 0.05 * ((rollout.values - targets) ** 2).mean((1, 2)))
    torch.testing.assert_close(parts["q"], ((rollout.q_taken - targets) ** 2).mean((1, 2)))


@pytest.mark.parametrize(("setting", "weight"), [(None, 0.1), (0.7, 0.7), (0.0, 0.0)])
def test_the_value_loss_has_the_weight_of_the_run_or_else_of_the_row(setting, weight):
    _, outputs, batch = outputs_and_batch(config := dataclasses.replace(SHORT, value_coefficient=setting))
    error = ((batch.rollout.values - batch.targets) ** 2).mean((1, 2))
    torch.testing.assert_close(terms(outputs, batch, config)["value"], weight * 0.5 * error)


def first_steps(policy: Policy, **settings) -> dict[str, torch.Tensor]:
    """How far plain descent moves each parameter in its first update."""
    config = dataclasses.replace(
        SHORT, optimiser="sgd", gradient_clip=0.0, weight_decay=0.0, updates_per_rollout=1, **settings
    )
    trainer = Trainer(PrisonersDilemma(), policy, config)
    before = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    trainer.step()
    return {name: value.detach() - before[name] for name, value in trainer.parameters.items()}


@pytest.mark.parametrize("policy", [TINY, SeparateCritic(TINY)])
def test_heads_have_a_learning_rate_of_their_own(policy):
    plain, faster = first_steps(policy), first_steps(policy, head_rate=5.0)
    critic = "second." if isinstance(policy, SeparateCritic) else ""
    heads = {f"{critic}{name}" for name in ("value.weight", "value.bias", "q.weight", "q.bias")}
    for name, step in plain.items():
        torch.testing.assert_close(faster[name], (5 if name in heads else 1) * step, rtol=1e-3, atol=1e-7)
        assert step.abs().max() > 0 or name not in heads


def test_whitening_rescales_what_the_policy_sees_and_not_the_targets():
    rollout = Trainer(PrisonersDilemma(), TINY, SHORT).play()
    plain, whitened = (prepare(rollout, dataclasses.replace(SHORT, whiten=whiten)) for whiten in (False, True))
    torch.testing.assert_close(plain.targets, whitened.targets)
    torch.testing.assert_close(plain.advantages, whitened.advantages)
    torch.testing.assert_close(whitened.weights.std((1, 2)), torch.ones(3), atol=1e-4, rtol=0)


def test_rejection_learns_from_discounted_returns_without_bootstrap():
    x = outputs_and_batch(dataclasses.replace(SHORT, algorithm="rejection"))[2]
    torch.testing.assert_close(x.weights[..., -1], x.rollout.rewards[..., -1])
    torch.testing.assert_close(x.weights[..., -2], x.rollout.rewards[..., -2] + 0.5 * x.rollout.rewards[..., -1])


def test_a_policy_is_anything_with_the_methods_of_one():
    assert isinstance(TINY, Policy)
    assert isinstance(Table(), Policy)
    assert isinstance(Boltzmann(TINY.config, 1.0), Policy)
    said = Table(3).forward(Table(3).init([torch.Generator()]), torch.zeros(1, 2, 4, dtype=torch.long))
    assert isinstance(said, Outputs)
    assert said.logits.shape == (1, 2, 4, 3)


def test_a_boltzmann_policy_is_the_softmax_of_its_q():
    policy = Boltzmann(TINY.config, 0.25)
    trainer = Trainer(PrisonersDilemma(), policy, dataclasses.replace(SHORT, algorithm="critic"))
    start = trainer.parameters["q.weight"].detach().clone()
    trainer.run()
    assert not torch.equal(trainer.parameters["q.weight"], start)
    said = policy.forward(trainer.parameters, trainer.play().context)
    torch.testing.assert_close(said.logits, said.q / 0.25)
    np.testing.assert_allclose(trainer.records[-1]["logit_gap"], trainer.records[-1]["q_gap"] / 0.25, rtol=1e-4)
    rollout = trainer.play()
    said = policy.forward(trainer.parameters, rollout.context)
    expected = said.logits.log_softmax(-1).gather(-1, rollout.taken[..., None])[..., 0]
    torch.testing.assert_close(rollout.log_probs, expected.detach(), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="temperature = 0.0: allowed are finite numbers above zero"):
        Boltzmann(TINY.config, 0.0)


def test_small_operations_run_in_one_thread_and_leave_the_number_as_it_was():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_thread():
        inside = torch.get_num_threads()
    after = torch.get_num_threads()
    torch.set_num_threads(threads)
    assert (inside, after) == (1, 2)


# Does it learn?


def test_ppo_learns_to_alternate():
    # Alternating is the best play. Published runs stand near .6 after 50 updates; a larger step gets there sooner.
    config = Config(algorithm="ppo", trials=4, updates=80, batch=16, steps=30, learning_rate=3e-3, seed=1)
    policy = Network(GPTConfig(layers=1, heads=3, width=12, block_size=32))
    trainer = trained(config, policy)
    alternating = np.stack([record["outcome_share"][:, 1:3].sum(1) for record in trainer.records])  # [rollout, trial]
    before, after = alternating[:2].mean(0), alternating[-2:].mean(0)
    # The shares of 960 games of a fair coin have a standard error of .016.
    assert (np.abs(before - 0.5) < 0.1).all()
    assert (after > before + 0.1).all()
