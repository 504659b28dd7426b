"""Cached sampling, against the uncached network and against probability."""

import dataclasses
import math

import pytest
import torch
from stacks import generators, readable, sequences, stack

from actde_nb.networks import gpt
from actde_nb.networks.gpt import GPTConfig
from actde_nb.networks.sampling import sample

PUBLISHED = GPTConfig()
CONFIGS = [
    PUBLISHED,
    GPTConfig(layers=2, vocabulary=5, block_size=31),
    GPTConfig(layers=2, heads=2, width=6, block_size=31, vocabulary=3),
]


def uniforms(trials, batch, steps, seed=0):
    return torch.rand(trials, batch, steps, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_it_says_what_the_uncached_network_says(config, dtype, dropout):
    config, steps = dataclasses.replace(config, dropout=dropout), min(100, config.block_size - 1)
    params, first = stack(config, 2, extra=0.2, dtype=dtype), sequences(config, 2, 19, 1)[..., 0]
    drawn = sample([params], config, first, uniforms(2, 19, steps), dropout_generators=generators(2))
    assert torch.equal(drawn.tokens[..., 0], first)
    out = gpt.forward(params, readable(config), drawn.tokens, dropout_generators=generators(2))
    log_probs = out.logits[:, :, :-1].log_softmax(-1).gather(-1, drawn.tokens[..., 1:, None])[..., 0]
    tolerance = {"rtol": 5e-5, "atol": 5e-6} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(drawn.log_probs, log_probs, **tolerance)
    torch.testing.assert_close(drawn.values, out.values, **tolerance)
    torch.testing.assert_close(drawn.q, out.q[:, :, :-1], **tolerance)
    assert not drawn.log_probs.requires_grad


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_after_a_prompt_it_says_what_the_uncached_network_says(alike, dropout):
    config = dataclasses.replace(CONFIGS[1], dropout=dropout)
    params, prompt = stack(config, 2, extra=0.2, dtype=torch.float64), sequences(config, 2, 5, 4)
    if alike:
        prompt = prompt[:, :1].expand(-1, 5, -1)
    drawn = sample([params], config, prompt, uniforms(2, 5, 14), dropout_generators=generators(2))
    assert torch.equal(drawn.tokens[..., :4], prompt)
    out = gpt.forward(params, readable(config), drawn.tokens, dropout_generators=generators(2))
    log_probs = out.logits[:, :, 3:-1].log_softmax(-1).gather(-1, drawn.tokens[..., 4:, None])[..., 0]
    torch.testing.assert_close(drawn.log_probs, log_probs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(drawn.values, out.values[..., 3:], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(drawn.q, out.q[:, :, 3:-1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("config", [*CONFIGS, readable(PUBLISHED)])
def test_each_token_is_the_one_its_uniform_points_at(config, temperature):
    steps = 25
    params, first = stack(config, 2, extra=0.3), sequences(config, 2, 19, 1)[..., 0]
    numbers = uniforms(2, 19, steps)
    drawn = sample([params], config, first, numbers, temperature=temperature)
    logits = gpt.forward(params, readable(config), drawn.tokens).logits[:, :, :-1]
    upper = (logits.double() / temperature).softmax(-1).cumsum(-1)
    lower = torch.cat([torch.zeros_like(upper[..., :1]), upper[..., :-1]], -1)
    chosen = drawn.tokens[..., 1:, None]
    assert (numbers >= lower.gather(-1, chosen)[..., 0] - 1e-5).all()
    assert (numbers < upper.gather(-1, chosen)[..., 0] + 1e-5).all()


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_both_ways_draw_the_same_tokens(dropout):
    config = GPTConfig(dropout=dropout)
    params, first = stack(config, 3, extra=0.2), sequences(config, 3, 33, 1)[..., 0]
    numbers = uniforms(3, 33, 100)
    fast = sample([params], config, first, numbers, dropout_generators=generators(3))
    slow = sample([params], readable(config), first, numbers, dropout_generators=generators(3))
    assert torch.equal(fast.tokens, slow.tokens)
    torch.testing.assert_close(fast.log_probs, slow.log_probs, rtol=5e-5, atol=5e-6)


def test_a_trial_draws_the_same_alone():
    params, first, numbers = stack(PUBLISHED, 3, extra=0.2), sequences(PUBLISHED, 3, 7, 1)[..., 0], uniforms(3, 7, 30)
    together = sample([params], PUBLISHED, first, numbers)
    alone = sample([{name: value[2:] for name, value in params.items()}], PUBLISHED, first[2:], numbers[2:])
    for whole, part in zip(together, alone, strict=True):
        assert torch.equal(whole[2:], part)


def test_frequencies_are_the_policys():
    config = GPTConfig(layers=1, vocabulary=3)
    params, first = stack(config, 1, extra=0.5), torch.zeros(1, 20_000, dtype=torch.long)
    drawn = sample([params], config, first, uniforms(1, 20_000, 1))
    probabilities = gpt.forward(params, config, first[:, :1, None]).logits[0, 0, 0].softmax(-1)
    for token, p in enumerate(probabilities.tolist()):
        share = (drawn.tokens[..., 1] == token).double().mean().item()
        assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / 20_000)


def test_dropout_is_on_while_sampling_if_asked_for():
    config = GPTConfig(dropout=0.3)
    params, first, numbers = stack(config, 2, extra=0.3), sequences(config, 2, 5, 1)[..., 0], uniforms(2, 5, 12)
    one, again = (sample([params], config, first, numbers, dropout_generators=generators(2)) for _ in range(2))
    other = sample([params], config, first, numbers, dropout_generators=generators(2, seed=3))
    off = sample([params], config, first, numbers)
    assert torch.equal(one.values, again.values)
    assert not torch.allclose(one.values, other.values)
    assert not torch.allclose(one.values, off.values)


def test_what_cannot_be_sampled_is_refused():
    params, first = stack(PUBLISHED, 2), torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="steps = 128: allowed are 1 to block_size - 1 = 127"):
        sample([params], PUBLISHED, first, uniforms(2, 3, 128))
    with pytest.raises(ValueError, match="steps = 0: allowed"):
        sample([params], PUBLISHED, first, uniforms(2, 3, 0))
    with pytest.raises(ValueError, match="temperature = 0.0: allowed"):
        sample([params], PUBLISHED, first, uniforms(2, 3, 4), temperature=0.0)
    with pytest.raises(ValueError, match="tokens reach from 2 to 2: allowed are 0 to 1"):
        sample([params], PUBLISHED, first + 2, uniforms(2, 3, 4))
    with pytest.raises(ValueError, match="dropout_generators has 1 entries"):
        sample([params], PUBLISHED, first, uniforms(2, 3, 4), dropout_generators=generators(1))
