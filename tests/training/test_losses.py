"""Losses and, since they are what moves the policy, their gradients; by hand."""

import numpy as np
import pytest
import torch

from actde_nb.training import losses


def steps(*numbers: float, learn: bool = False) -> torch.Tensor:
    return torch.tensor([[numbers]], dtype=torch.float64, requires_grad=learn)


def check(loss: torch.Tensor, value: float, variable: torch.Tensor, gradient: tuple[float, ...]) -> None:
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(value)
    loss.sum().backward()
    np.testing.assert_allclose(variable.grad[0, 0], gradient, atol=1e-12)


def test_the_clip_binds_where_the_step_has_been_taken():
    # Ratios 1.5 with A = 1 and .5 with A = -1: min(1.5, 1.2) and min(-.5, -.8); past the clip, no gradient.
    log_probs = torch.tensor([[[1.5, 0.5]]], dtype=torch.float64).log().requires_grad_()
    check(losses.clipped_surrogate(log_probs, steps(0, 0), steps(1, -1), 0.2), -(1.2 - 0.8) / 2, log_probs, (0, 0))


def test_the_clip_does_not_bind_on_the_way_back():
    # Ratios 1.5 with A = -1 and .5 with A = 1: min(-1.5, -1.2) and min(.5, .8).
    # The gradient of -ratio * A / 2 in log pi is -ratio * A / 2.
    log_probs = torch.tensor([[[1.5, 0.5]]], dtype=torch.float64).log().requires_grad_()
    loss = losses.clipped_surrogate(log_probs, steps(0, 0), steps(-1, 1), 0.2)
    check(loss, -(-1.5 + 0.5) / 2, log_probs, (0.75, -0.25))


def test_the_ratio_is_to_the_policy_that_played():
    # Both log-probabilities one nat lower: the same ratios.
    log_probs = (torch.tensor([[[1.1, 0.9]]], dtype=torch.float64).log() - 1).requires_grad_()
    loss = losses.clipped_surrogate(log_probs, steps(-1, -1), steps(2, 1), 0.2)
    check(loss, -(2.2 + 0.9) / 2, log_probs, (-1.1, -0.45))


def test_score_function_and_logit_step():
    for loss in (losses.score_function, losses.logit_step):
        variable = steps(-1, -2, learn=True)
        # -(-1 * 3 + -2 * 5) / 2; gradient -A / 2.
        check(loss(variable, steps(3, 5)), 6.5, variable, (-1.5, -2.5))


def test_rejection_keeps_the_best_quarter():
    # Eight steps, two kept: the ones with returns 9 and 7. -(-.3 - .7) / 2 = .5.
    log_probs = steps(-0.1, -0.3, -0.2, -0.5, -0.7, -0.9, -0.4, -0.6, learn=True)
    loss = losses.best_share(log_probs, steps(0, 9, 1, 2, 7, 6, 3, -1), 0.25)
    check(loss, 0.5, log_probs, (0, -0.5, 0, 0, -0.5, 0, 0, 0))


def test_rejection_ranks_the_steps_that_count():
    # Four of eight count, with returns 5, 1, 3 and 4; half of them are kept, those with 5 and 4: -(-.2 - .8) / 2.
    log_probs = steps(-0.1, -0.2, -0.3, -0.4, -0.5, -0.6, -0.7, -0.8, learn=True)
    mask = torch.tensor([[[False, True, False, True, False, True, False, True]]])
    loss = losses.best_share(log_probs, steps(9, 5, 9, 1, 9, 3, 9, 4), 0.5, mask)
    check(loss, 0.5, log_probs, (0, -0.5, 0, 0, 0, 0, 0, -0.5))


def test_rejection_rounds_down_and_needs_one_step():
    log_probs = steps(-1, -2, -3)
    assert losses.best_share(log_probs, steps(1, 2, 3), 0.5).item() == 3  # one of three, the last
    with pytest.raises(ValueError, match="kept_share = 0.25 of 3 steps"):
        losses.best_share(log_probs, steps(1, 2, 3), 0.25)


def test_the_larger_of_two_value_errors_counts():
    # Old v 0, clip .2. v = .5, target 1: errors .25 and (.2 - 1)^2 = .64, the held one, no gradient.
    # v = .5, target 0: errors .25 and .04, the free one; its gradient is (v - target) / 3, there being three steps.
    # v = .1, target 1, inside the clip: .81 both ways, gradient -.9 / 3.
    values = steps(0.5, 0.5, 0.1, learn=True)
    loss = losses.clipped_value(values, steps(0, 0, 0), steps(1, 0, 1), 0.2)
    check(loss, (0.64 + 0.25 + 0.81) / 6, values, (0, 0.5 / 3, -0.9 / 3))


def test_expectile_by_hand():
    # Errors target - v = 1 (v too low: weight .9) and -1 (.1): (.9 + .1) / 2; gradients -2 * .9 / 2 and 2 * .1 / 2.
    values = steps(0, 2, learn=True)
    check(losses.expectile_value(values, steps(1, 1), 0.9), 0.5, values, (-0.9, 0.1))


def test_losses_of_values_can_be_scaled_step_by_step():
    # Squared errors 1 and 4, of which the clip changes nothing: (3 * 1 + 1 * 4) / 4, both with a half.
    scale, values, targets = steps(3, 1), steps(0, 0), steps(1, 2)
    assert losses.clipped_value(values, values, targets, 9.0, scale=scale).item() == 7 / 4
    assert losses.expectile_value(values, targets, 0.5, scale=scale).item() == 7 / 4


def test_the_expectile_of_one_half_is_half_the_squared_error():
    values, targets = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses.expectile_value(values, targets, 0.5), losses.squared_error(values, targets) / 2)


def test_the_expectile_loss_settles_where_its_level_says():
    # Targets 0 and 1 in equal parts: v with .9 (1 - v) = .1 v is .9.
    values = torch.zeros(1, 1, 2, dtype=torch.float64) + torch.tensor(0.9, dtype=torch.float64).requires_grad_()
    values.retain_grad()
    losses.expectile_value(values, steps(0, 1), 0.9).sum().backward()
    assert values.grad.sum().item() == pytest.approx(0, abs=1e-15)


def test_squared_error_has_no_half():
    predictions = steps(1, 4, learn=True)
    check(losses.squared_error(predictions, steps(0, 2)), 2.5, predictions, (1, 2))  # 2 * error / 2


ALL = {
    "clipped_surrogate": lambda x, y, z: losses.clipped_surrogate(x, y, z, 0.2),
    "score_function": lambda x, y, z: losses.score_function(x, y),
    "logit_step": lambda x, y, z: losses.logit_step(x, y),
    "best_share": lambda x, y, z: losses.best_share(x, y, 0.25),
    "clipped_value": lambda x, y, z: losses.clipped_value(x, y, z, 0.2),
    "expectile_value": lambda x, y, z: losses.expectile_value(x, y, 0.9),
    "squared_error": lambda x, y, z: losses.squared_error(x, y),
}


@pytest.mark.parametrize("name", ALL)
def test_trials_do_not_touch_and_only_the_first_argument_learns(name):
    draws = torch.randn(3, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x, y, z = (array.requires_grad_() for array in draws.clone())
    together = ALL[name](x, y, z)
    assert together.shape == (3,)
    together.sum().backward()
    assert y.grad is None
    assert z.grad is None
    for trial in range(3):
        own = draws[0, trial : trial + 1].clone().requires_grad_()
        alone = ALL[name](own, *(array[trial : trial + 1] for array in draws[1:]))
        torch.testing.assert_close(alone[0], together[trial])
        alone.sum().backward()
        torch.testing.assert_close(own.grad[0], x.grad[trial])


@pytest.mark.parametrize("name", ALL)
def test_gradients_agree_with_differences(name):
    x, y, z = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.autograd.gradcheck(lambda x: ALL[name](x, y, z), x.clone().requires_grad_())


def test_imitation_weighted_by_advantage():
    # Weights exp(A / .5) are 1, 4 and, cut at 5 from 16: -(1 * -1 + 4 * -2 + 5 * -3) / 3.
    log_probs = steps(-1, -2, -3, learn=True)
    advantages = steps(0, np.log(2), np.log(4))
    check(losses.advantage_weighted(log_probs, advantages, 0.5, 5.0), 8, log_probs, (-1 / 3, -4 / 3, -5 / 3))


def test_the_log_ratio_regresses_on_the_advantage():
    # Ratios to the initial policy 1 and -.5, targets A / .5 of 2 and 1: residuals -1 and -1.5.
    log_probs = steps(-1, -2, learn=True)
    loss = losses.advantage_induced(log_probs, steps(-2, -1.5), steps(1, 0.5), 0.5)
    check(loss, (1 + 2.25) / 2, log_probs, (-1, -1.5))


@pytest.mark.parametrize(
    ("kind", "value", "slope"),
    [
        ("k1", 0, (0.5, 0.5)),
        ("k2", np.log(2) ** 2 / 2, (np.log(2) / 2, -np.log(2) / 2)),
        ("k3", 0.25, (0.25, -0.5)),  # 1/2 - 1 + log 2 and 2 - 1 - log 2
    ],
)
def test_estimates_of_the_divergence_by_hand(kind, value, slope):
    # Log-ratios log 2 and -log 2.
    log_probs, reference = steps(-1, -2, learn=True), steps(-1 - np.log(2), -2 + np.log(2))
    check(losses.sampled_divergence(log_probs, reference, kind), value, log_probs, slope)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_estimates_of_the_divergence_and_their_gradients_in_expectation(kind):
    draws = torch.randn(2, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    logits, reference = draws[0].requires_grad_(), draws[1].log_softmax(-1)
    policy = logits.log_softmax(-1)
    divergence = (policy.exp() * (policy - reference)).sum()
    backward = (reference.exp() * (reference - policy)).sum()
    each = losses.sampled_divergence(policy[:, None, None], reference[:, None, None], kind)
    if kind != "k2":  # which is biased
        torch.testing.assert_close((policy.exp() * each).sum(), divergence)
    descends = {"k1": 0 * divergence, "k2": divergence, "k3": backward}[kind]
    found = torch.autograd.grad((policy.exp().detach() * each).sum(), logits, retain_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(descends, logits))


def test_divergence_and_entropy_are_sums_over_actions():
    policy = torch.tensor([[[[0.5, 0.5], [0.9, 0.1]]]], dtype=torch.float64)
    initial = torch.tensor([[[[0.25, 0.75], [0.9, 0.1]]]], dtype=torch.float64)
    divergence = (0.5 * np.log(2) + 0.5 * np.log(2 / 3)) / 2
    assert losses.divergence(policy.log(), initial.log()).item() == pytest.approx(divergence)
    entropy = (np.log(2) - 0.9 * np.log(0.9) - 0.1 * np.log(0.1)) / 2
    assert losses.negative_entropy(policy.log()).item() == pytest.approx(-entropy)


def random_steps(*shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)]


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y, z, m: losses.clipped_surrogate(x, y, z, 0.2, m),
        lambda x, y, z, m: losses.score_function(x, y, m),
        lambda x, y, z, m: losses.logit_step(x, y, m),
        lambda x, y, z, m: losses.best_share(x, y, 0.5, m),
        lambda x, y, z, m: losses.clipped_value(x, y, z, 0.2, m),
        lambda x, y, z, m: losses.expectile_value(x, y, 0.9, m),
        lambda x, y, z, m: losses.squared_error(x, y, m),
        lambda x, y, z, m: losses.advantage_weighted(x, y, 0.5, 20.0, m),
        lambda x, y, z, m: losses.advantage_induced(x, y, z, 0.5, m),
    ],
)
def test_masked_steps_might_as_well_not_be_there(loss):
    whole = random_steps(2, 3, 6)
    mask = torch.zeros(2, 3, 6, dtype=torch.bool)
    mask[..., :4] = True
    torch.testing.assert_close(loss(*whole, mask), loss(*(x[..., :4] for x in whole), None))
    torch.testing.assert_close(loss(*whole, torch.ones_like(mask)), loss(*whole, None))
