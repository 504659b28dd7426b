"""How steps become one number, the upper clip, and steps that lower entropy: by hand, and as papers write them."""

import dataclasses

import numpy as np
import pytest
import torch
from toy_language import WORLD

from actde_nb.checks import SettingError
from actde_nb.networks import gpt
from actde_nb.networks.policies import Network
from actde_nb.training import losses
from actde_nb.training.config import Config
from actde_nb.training.objective import prepare, terms
from actde_nb.training.trainer import Trainer, adapted

POLICY = Network(gpt.GPTConfig(1, 2, 8, block_size=6, vocabulary=6), legal=WORLD.legal)
SHORT = Config(
    algorithm="grpo", trials=2, updates=8, batch=16, steps=4, minibatches=2, discount=1.0, group_size=4,
    learning_rate=1e-2, weight_decay=0.0, checkpoint_every=4,
)  # fmt: skip


def changed(**settings) -> Config:
    return dataclasses.replace(SHORT, **settings)


def ratios(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float64).log().requires_grad_()


# Two sequences of one and three steps, with ratios below and advantages 1, but for the clip.
RATIOS, MASK = ((1.1, 9.0, 9.0), (0.9, 1.0, 1.15)), torch.tensor([[[True, False, False], [True, True, True]]])


@pytest.mark.parametrize(
    ("aggregation", "loss", "slopes"),
    [
        ("token", -(1.1 + 0.9 + 1.0 + 1.15) / 4, (-1.1 / 4, 0, 0, -0.9 / 4, -1 / 4, -1.15 / 4)),
        ("sequence", -(1.1 + 3.05 / 3) / 2, (-1.1 / 2, 0, 0, -0.9 / 6, -1 / 6, -1.15 / 6)),
        ("constant", -(1.1 + 3.05) / 2 / 5, (-1.1 / 10, 0, 0, -0.9 / 10, -1 / 10, -1.15 / 10)),
    ],
)
def test_aggregations_by_hand(aggregation, loss, slopes):
    now = ratios(*RATIOS)
    ones = torch.ones_like(now).detach()
    found = losses.clipped_surrogate(now, 0 * ones, ones, 0.2, MASK, aggregation=aggregation, steps=5)
    assert found.item() == pytest.approx(loss)
    found.sum().backward()
    np.testing.assert_allclose(now.grad.flatten(), slopes, atol=1e-12)


def random_steps(count: int, *shape: int) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=draws, dtype=torch.float64) for _ in range(count)]


def test_aggregations_agree_where_all_lengths_are_equal():
    x, y, z = random_steps(3, 2, 4, 5)
    full = torch.ones(2, 4, 5, dtype=torch.bool)
    wanted = losses.clipped_surrogate(x, y, z, 0.2)
    for mask in (None, full):
        for how in ({"aggregation": "sequence"}, {"aggregation": "constant", "steps": 5}):
            torch.testing.assert_close(losses.clipped_surrogate(x, y, z, 0.2, mask, **how), wanted)
    half = losses.clipped_surrogate(x, y, z, 0.2, aggregation="constant", steps=10)
    torch.testing.assert_close(half, wanted / 2)


def test_the_upper_clip_by_hand():
    # Ratios 1.25, 1.5 and .5 with A = 1, 1 and -1, clipped at .8 and 1.28: the first is free, the others are held.
    now = ratios((1.25, 1.5, 0.5))
    loss = losses.clipped_surrogate(now, torch.zeros_like(now), torch.tensor([[[1.0, 1, -1]]]).double(), 0.2,
                                    clip_high=0.28)  # fmt: skip
    assert loss.item() == pytest.approx(-(1.25 + 1.28 - 0.8) / 3)
    loss.sum().backward()
    np.testing.assert_allclose(now.grad.flatten(), (-1.25 / 3, 0, 0), atol=1e-12)


def test_with_equal_clips_it_is_ppo():
    x, y, z = random_steps(3, 2, 4, 5)
    wanted = losses.clipped_surrogate(x, y, z, 0.2)
    assert torch.equal(losses.clipped_surrogate(x, y, z, 0.2, clip_high=0.2), wanted)
    assert not torch.allclose(losses.clipped_surrogate(x, y, z, 0.2, clip_high=0.4), wanted)


# Log pi -1, -2, -3, -4 and A 4, 1, -1, 0, of means -2.5 and 1: covariances 4.5, 0, 1, 1.5.
NOW, LEADS = (-1.0, -2.0, -3.0, -4.0), (4.0, 1.0, -1.0, 0.0)


def of_numbers(*numbers: float) -> torch.Tensor:
    return torch.tensor([[numbers]], dtype=torch.float64)


def test_clip_cov_lets_the_highest_covariances_go():
    now = of_numbers(*NOW).requires_grad_()
    loss = losses.clip_cov(now, of_numbers(*NOW), of_numbers(*LEADS), 0.2, 0.5)
    assert loss.item() == -1  # ratios are 1
    loss.sum().backward()
    # The first and the last have the highest; of the others A / 4, falling.
    np.testing.assert_allclose(now.grad.flatten(), (0, -1 / 4, 1 / 4, 0), atol=1e-12)


def test_kl_cov_holds_the_highest_covariances_to_the_policy_that_played():
    now, old = of_numbers(*NOW).requires_grad_(), of_numbers(-1.1, -2.0, -3.0, -3.8)
    loss = losses.kl_cov(now, old, of_numbers(*LEADS), 0.5, price=2.0)
    # Log-ratios .1 and -.2 at the two that are held, at 2 a nat.
    assert loss.item() == pytest.approx((2 * 0.3 - 4 * np.exp(0.1) - 1 + 1) / 4)
    loss.sum().backward()
    np.testing.assert_allclose(now.grad.flatten(), ((2 - 4 * np.exp(0.1)) / 4, -1 / 4, 1 / 4, -2 / 4), atol=1e-12)


def as_in_the_papers(kind, now, old, leads, mask, share):
    """Loss and gradient of one trial, in NumPy, token by token."""
    places = [tuple(place) for place in np.argwhere(mask)]
    mean = [np.mean([x[place] for place in places]) for x in (now, leads)]
    covariance = {place: (now[place] - mean[0]) * (leads[place] - mean[1]) for place in places}
    chosen = sorted(places, key=covariance.get)[-max(int(share * len(places)), 1) :]
    loss, slope = 0.0, np.zeros_like(now)
    for place in places:
        ratio, lead = np.exp(now[place] - old[place]), leads[place]
        if kind == "kl_cov":
            loss -= ratio * lead
            slope[place] -= ratio * lead
            if place in chosen:
                loss += abs(now[place] - old[place])
                slope[place] += np.sign(now[place] - old[place])
            continue
        held = min(max(ratio, 0.8), 1.2)
        loss -= min(ratio * lead, held * lead)
        if place not in chosen and ratio * lead <= held * lead:
            slope[place] -= ratio * lead
    return loss / len(places), slope / len(places)


@pytest.mark.parametrize("share", [0.3, 1e-4])
@pytest.mark.parametrize("kind", ["clip_cov", "kl_cov"])
def test_covariances_trial_by_trial_where_steps_count(kind, share):
    now, old, leads = (x / 2 for x in random_steps(3, 3, 4, 5))
    mask = (
        torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.9, 0.6, 0.4])[:, None, None]
    )
    now.requires_grad_()
    how = {"clip": 0.2} if kind == "clip_cov" else {}
    found = getattr(losses, kind)(now, old, leads, covariance_share=share, mask=mask, **how)
    found.sum().backward()
    for trial in range(3):
        arrays = (x[trial].detach().numpy() for x in (now, old, leads, mask))
        loss, slope = as_in_the_papers(kind, *arrays, share)
        assert found[trial].item() == pytest.approx(loss, abs=1e-12)
        np.testing.assert_allclose(now.grad[trial], slope, atol=1e-12)


def moved(**settings):
    """A policy that has moved on since it played, its batch, and its terms."""
    trainer = Trainer(WORLD, POLICY, changed(**settings))
    batch, draw = prepare(trainer.play(), trainer.config), torch.Generator().manual_seed(0)
    for name in ("policy.weight", "value.weight"):
        trainer.parameters[name].data.add_(torch.randn(trainer.parameters[name].shape, generator=draw))
    outputs = POLICY.forward(trainer.parameters, batch.rollout.context)
    return batch, outputs.logits[:, :, -4:].log_softmax(-1), terms(outputs, batch, trainer.config)


@pytest.mark.parametrize(
    ("row", "summed_up"),
    [
        ("grpo", lambda x, mask: (x * mask).sum((1, 2)) / mask.sum((1, 2))),
        ("grpo_sequence", lambda x, mask: ((x * mask).sum(-1) / mask.sum(-1)).mean(-1)),
        ("dr_grpo_constant", lambda x, mask: (x * mask).sum(-1).mean(-1) / 4),
    ],
)
def test_all_terms_of_a_row_are_summed_up_alike(row, summed_up):
    batch, log_policy, parts = moved(
        algorithm=row, clip=0.1, clip_high=0.3, kl_in_loss=0.5, kl_estimator="k3", entropy_bonus=0.25
    )
    mask, pick = batch.rollout.mask, batch.rollout.taken[..., None]
    assert len(set(mask.sum(-1).flatten().tolist())) > 1
    now, before = log_policy.gather(-1, pick)[..., 0], batch.rollout.reference_log_probs
    ratio, leads = (now - batch.rollout.log_probs).exp(), batch.advantages
    lower = torch.minimum(ratio * leads, ratio.clamp(0.9, 1.3) * leads)
    torch.testing.assert_close(parts["policy"], summed_up(-lower, mask))
    k3 = (before - now).exp() - 1 - (before - now)
    torch.testing.assert_close(parts["kl"], 0.5 * summed_up(k3, mask))
    entropy = -(log_policy.exp() * log_policy).sum(-1)
    torch.testing.assert_close(parts["entropy"], -0.25 * summed_up(entropy, mask))


@pytest.mark.parametrize("row", ["grpo_sequence", "dr_grpo_constant", "clip_cov", "kl_cov"])
def test_every_row_learns_to_say_what_pays(row):
    trainer = Trainer(WORLD, POLICY, changed(algorithm=row, updates=40, covariance_share=0.05, clip_high=0.28))
    trainer.run()
    first, last = trainer.records[0]["sentence"][:, 0], trainer.records[-1]["sentence"][:, 0]
    assert (first < 0.7).all()
    assert (last > 0.85).all()


def test_the_bonus_falls_above_the_target_and_rises_below():
    # Entropies of 4, .9 and .1 nats with a target of 1: errors 3, cut at .2, -.1 and -.9, cut at -.2.
    found = adapted(torch.tensor([0.1, 0.2, 0.3]), 1 - torch.tensor([4.0, 0.9, 0.1]))
    torch.testing.assert_close(found, torch.tensor([0.098, 0.202, 0.306]))


def test_the_bonus_that_has_moved_is_what_the_loss_pays():
    trainer = Trainer(WORLD, POLICY, changed(entropy_bonus=0.1, entropy_target=0.2))
    trainer.step()
    trainer.step()
    entropy, bonus = (trainer.records.column(name) for name in ("entropy", "bonus"))
    assert bonus[0].tolist() == pytest.approx([0.1, 0.1])
    wanted = adapted(torch.from_numpy(bonus[0]), 1 - torch.from_numpy(entropy[0]) / 0.2)
    np.testing.assert_allclose(bonus[1], wanted, rtol=1e-6)
    assert (bonus[1] != bonus[0]).all()
    trainer.bonus = torch.tensor([0.5, 0.0])
    batch = prepare(trainer.play(), trainer.config)
    outputs = POLICY.forward(trainer.parameters, batch.rollout.context)
    found = trainer.learn(outputs, batch)["loss_entropy"]
    log_policy = outputs.logits[:, :, -4:].log_softmax(-1)
    wanted = torch.tensor([0.5, 0.0]) * losses.negative_entropy(log_policy, batch.rollout.mask)
    torch.testing.assert_close(found, wanted.detach())


def test_a_bonus_brings_entropy_to_its_target():
    """Of two actions with rewards 1 and 0, at the policy that is best with a bonus: the softmax of r / bonus."""
    rewards, bonus = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([1.0, 0.01], dtype=torch.float64)
    for _ in range(600):
        entropy = torch.distributions.Categorical(logits=rewards / bonus[:, None]).entropy()
        bonus = adapted(bonus, 1 - entropy / 0.3)
    assert entropy.tolist() == pytest.approx([0.3, 0.3], abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"entropy_target": 0.5}, "entropy_target = 0.5 with entropy_bonus = 0: allowed is a bonus to start from"),
        ({"entropy_target": -0.5, "entropy_bonus": 0.1}, "entropy_target = -0.5: allowed"),
        ({"clip_high": 0.0}, "clip_high = 0.0: allowed are finite numbers above zero"),
        ({"covariance_share": 2.0}, r"covariance_share = 2.0: allowed are numbers in \[0, 1\]"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        changed(**settings)
