"""The readable network, against minGPT written independently and against what its parts must do."""

import math

import pytest
import torch
from minigpt import MiniGPT
from stacks import far, generators, gradients, readable, sequences, stack

from actde_nb.networks import gpt
from actde_nb.networks.gpt import GPTConfig

SMALL = GPTConfig(layers=2, heads=2, width=6, block_size=9, vocabulary=5)
PUBLISHED = GPTConfig()


@pytest.mark.parametrize("config", [PUBLISHED, SMALL, GPTConfig(layers=1, heads=1, width=4, block_size=8)])
def test_it_is_mingpt(config):
    params = stack(config, 2, extra=0.3, dtype=torch.float64)
    tokens = sequences(config, 2, 3, 8)
    ours = gpt.forward(params, readable(config), tokens)
    for trial in range(2):
        module = MiniGPT(config).double().copy_from(params, trial)
        assert sum(p.numel() for p in module.parameters()) == gpt.parameter_count(config)
        for part, theirs in zip(ours, module(tokens[trial]), strict=True):
            torch.testing.assert_close(part[trial], theirs, rtol=1e-10, atol=1e-12)


def test_the_published_network_has_7299_parameters():
    # token 2 x 12, position 128 x 12; a block: two norms 48, attention 12 x 36 + 36 and 12 x 12 + 12, perceptron
    # 12 x 48 + 48 and 48 x 12 + 12; last norm 24; policy 24, value 13, q 26.
    block = 48 + 468 + 156 + 624 + 588
    assert block == 1884
    assert gpt.parameter_count(PUBLISHED) == 24 + 1536 + 3 * block + 24 + 24 + 13 + 26 == 7299
    params = gpt.init(PUBLISHED, 2, generators(2))
    assert sum(value.numel() for value in params.values()) == 2 * 7299


def test_decay_reaches_the_weights_of_linear_layers_alone():
    decayed = {name for name in gpt.shapes(PUBLISHED) if gpt.decays(name)}
    assert decayed == {
        "blocks.attention.weight", "blocks.attention_out.weight", "blocks.mlp.weight", "blocks.mlp_out.weight",
        "policy.weight", "value.weight", "q.weight",
    }  # fmt: skip


def test_initial_parameters_have_mingpts_statistics():
    params = gpt.init(PUBLISHED, 40, generators(40))
    for name, value in params.items():
        if name.endswith(".bias"):
            assert (value == 0).all(), name
        elif "norm" in name:
            assert (value == 1).all(), name
        else:
            wanted = 0.02 / math.sqrt(6) if "_out" in name else 0.02
            # the sample deviation of n normal numbers has standard error sigma / sqrt(2 n)
            assert abs(value.std() / wanted - 1) < 4 / math.sqrt(2 * value.numel()), name
            assert abs(value.mean() / wanted) < 4 / math.sqrt(value.numel()), name


def test_a_trials_parameters_follow_from_its_own_generator():
    stacked = gpt.init(SMALL, 3, generators(3))
    alone = gpt.init(SMALL, 1, generators(3)[2:])
    for name in stacked:
        assert torch.equal(stacked[name][2], alone[name][0])
        if "norm" not in name and not name.endswith(".bias"):
            assert not torch.equal(stacked[name][1], stacked[name][2])


@pytest.mark.parametrize("compiled", [True, False])
def test_the_past_does_not_see_the_future(compiled):
    params = stack(PUBLISHED, 1, extra=0.3)
    tokens = sequences(PUBLISHED, 1, 4, 20)
    changed = tokens.clone()
    changed[..., 12] = 1 - changed[..., 12]
    before, after = (gpt.forward(params, GPTConfig(compiled=compiled), x) for x in (tokens, changed))
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[:, :, :12], other[:, :, :12])
        assert not torch.allclose(one[:, :, 12], other[:, :, 12])
        assert not torch.allclose(one[:, :, 19], other[:, :, 19])


@pytest.mark.parametrize("compiled", [True, False])
def test_trials_of_a_stack_do_not_touch_each_other(compiled):
    config = GPTConfig(compiled=compiled)
    params, tokens = stack(config, 3, extra=0.2), sequences(config, 3, 18, 11)
    alone = {name: value[1:2].detach().requires_grad_() for name, value in params.items()}
    together = gpt.forward(params, config, tokens)
    single = gpt.forward(alone, config, tokens[1:2])
    tolerance = {"rtol": 0, "atol": 0} if compiled else {"rtol": 1e-4, "atol": 1e-5}
    for whole, part in zip(together, single, strict=True):
        torch.testing.assert_close(whole[1:2], part, **tolerance)
    # the loss looks at trial 1 only: other trials get no gradient, and trial 1 what it gets alone
    found = torch.autograd.grad(sum(part[1].square().sum() for part in together), list(params.values()))
    expected = torch.autograd.grad(sum(part.square().sum() for part in single), list(alone.values()))
    for gradient, wanted in zip(found, expected, strict=True):
        assert (gradient[0] == 0).all()
        assert (gradient[2] == 0).all()
        torch.testing.assert_close(gradient[1:2], wanted, **tolerance)


def test_gradients_agree_with_finite_differences():
    config = GPTConfig(layers=1, heads=1, width=4, block_size=4)
    params, tokens = stack(config, 1, extra=0.5, dtype=torch.float64), sequences(config, 1, 2, 3)

    def outputs(*values):
        return tuple(gpt.forward(dict(zip(params, values, strict=True)), config, tokens))

    assert torch.autograd.gradcheck(outputs, tuple(params.values()), fast_mode=True)


@pytest.mark.parametrize("compiled", [True, False])
def test_detached_heads_leave_the_trunk_alone(compiled):
    tokens = sequences(PUBLISHED, 1, 3, 7)
    for detach in (False, True):
        config = GPTConfig(detach_heads=detach, compiled=compiled)
        params = stack(config, 1, extra=0.2)
        out = gpt.forward(params, config, tokens)
        loss = out.values.sum() + out.q.square().sum() + 0 * out.logits.sum()
        for name, gradient in zip(params, torch.autograd.grad(loss, list(params.values())), strict=True):
            head = name.split(".")[0] in ("value", "q")
            if name != "policy.weight":
                assert bool((gradient != 0).any()) == (head or not detach), name


def test_dropout_is_seeded_for_each_trial():
    config = GPTConfig(dropout=0.3)
    params, tokens = stack(config, 2, extra=0.2), sequences(config, 2, 3, 10)
    first = gpt.forward(params, config, tokens, dropout_generators=generators(2))
    again = gpt.forward(params, config, tokens, dropout_generators=generators(2))
    other = gpt.forward(params, config, tokens, dropout_generators=generators(2, seed=5))
    assert torch.equal(first.logits, again.logits)
    assert not torch.allclose(first.logits, other.logits)
    alone = {name: value[1:] for name, value in params.items()}
    single = gpt.forward(alone, config, tokens[1:], dropout_generators=generators(2)[1:])
    torch.testing.assert_close(single.logits, first.logits[1:], rtol=1e-4, atol=1e-5)
    without = gpt.forward(params, config, tokens)
    torch.testing.assert_close(without, gpt.forward(params, GPTConfig(), tokens))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 0}, "layers = 0: allowed"),
        ({"block_size": True}, "block_size = True: allowed"),
        ({"heads": 5}, "width = 12: allowed are multiples of heads = 5"),
        ({"dropout": 1.0}, "dropout = 1.0: allowed"),
        ({"dropout": math.nan}, "dropout = nan: allowed"),
    ],
)
def test_impossible_sizes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        GPTConfig(**settings)


def test_what_does_not_fit_is_refused():
    params, tokens = stack(SMALL, 2), sequences(SMALL, 2, 3, 9)
    with pytest.raises(ValueError, match=r"tokens has shape \(2, 3, 10\): allowed .* block_size = 9"):
        gpt.forward(params, SMALL, torch.zeros(2, 3, 10, dtype=torch.long))
    with pytest.raises(ValueError, match=r"tokens reach from 0 to 5: allowed are 0 to 4"):
        gpt.forward(params, SMALL, torch.full((2, 3, 9), 5).tril())
    with pytest.raises(ValueError, match=r"token_embedding'\] has shape \(2, 5, 6\): allowed is \(1, 5, 6\)"):
        gpt.forward(params, SMALL, tokens[:1])
    with pytest.raises(ValueError, match=r"params\['q.bias'\] has shape None: allowed is \(2, 5\)"):
        gpt.forward({name: value for name, value in params.items() if name != "q.bias"}, SMALL, tokens)
    with pytest.raises(ValueError, match="generators has 1 entries: allowed is one for each of trials = 2"):
        gpt.init(SMALL, 2, generators(1))
    with pytest.raises(ValueError, match="dropout_generators has 3 entries"):
        gpt.forward(params, SMALL, tokens, dropout_generators=generators(3))


def test_helpers_of_these_tests_can_tell_a_difference():
    params, tokens = stack(SMALL, 1, extra=0.2), sequences(SMALL, 1, 2, 5)
    found = gradients(params, gpt.forward(params, SMALL, tokens))
    assert far(found["q.weight"] * 1.001, found["q.weight"]) > 5e-4
