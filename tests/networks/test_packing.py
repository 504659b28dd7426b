"""Reading only what is needed, against reading everything."""

import dataclasses

import pytest
import torch
from stacks import sequences, stack

from actde_nb.networks import gpt
from actde_nb.networks.gpt import GPTConfig
from actde_nb.networks.packing import Packing, select

SMALL = GPTConfig(layers=2, heads=2, width=6, block_size=19, vocabulary=5)


def prompted(trials, batch, time, prompt):
    """Sequences that begin alike, and how far each is needed: differently far, and of no two trials as much."""
    tokens = sequences(SMALL, trials, batch, time)
    tokens[..., :prompt] = tokens[0, 0, :prompt]
    ends = torch.randint(prompt, time + 1, (trials, batch), generator=torch.Generator().manual_seed(3))
    return tokens, torch.arange(time) < ends[..., None]


def test_a_pack_by_hand():
    # One trial, two sequences of three, one common beginning, padded to 16 places each. Needed: all of the first, two
    # of the second. Rows: 0 1 2 of the first, place 1 of the second, which is place 17 of all.
    tokens = torch.tensor([[[4, 1, 2], [4, 3, 3]]])
    packing = Packing.of(tokens, torch.tensor([[[True, True, True], [True, True, False]]]))
    assert packing.source.tolist() == [[0, 1, 2, 17]]
    assert packing.position.tolist() == [[0, 1, 2, 1]]
    assert packing.tokens(tokens).tolist() == [[4, 1, 2, 3]]
    row = packing.row.view(2, 16)
    assert row[0, :3].tolist() == [0, 1, 2]
    assert row[1, :2].tolist() == [0, 3]
    x = torch.arange(8.0).view(1, 1, 4, 2)
    assert torch.equal(packing.pack(packing.spread(x)), x)


def test_entries_come_from_the_trials_own_table():
    table = torch.arange(12.0).view(2, 3, 2)
    chosen = select(table, torch.tensor([[[0, 2]], [[2, 1]]]))
    assert torch.equal(chosen, torch.stack([table[0, [0, 2]], table[1, [2, 1]]])[:, None])


def test_trials_that_need_little_read_no_place_beyond_the_last():
    # 18 places are needed of one trial and 2 of the other, whose other 16 rows must not come from the padding.
    tokens = torch.tensor([[[0, 1, 2, 3, 4, 0]] * 3, [[1, 2, 3, 4, 0, 1]] * 3])
    tokens[0, 1, 0], tokens[0, 2, 0], tokens[1, 1, 0] = 1, 2, 2
    needed = torch.zeros(2, 3, 6, dtype=torch.bool)
    needed[0], needed[1, :2, 0] = True, True
    packing = Packing.of(tokens, needed)
    assert packing.source.shape == (2, 18)
    assert packing.source[1].tolist() == [0, 16] + 16 * [0]
    assert (packing.position < 6).all()


@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize(("time", "prompt"), [(9, 3), (17, 0), (5, 5)])
@pytest.mark.parametrize("detach", [False, True])
def test_what_is_needed_is_what_the_whole_network_says(trials, time, prompt, detach):
    config = dataclasses.replace(SMALL, detach_heads=detach)
    params = stack(config, trials, extra=0.4, dtype=torch.float64)
    tokens, needed = prompted(trials, 4, time, prompt)
    packed = gpt.forward(params, config, tokens, needed=needed)
    whole = gpt.forward(params, config, tokens)
    draws = torch.Generator().manual_seed(0)
    losses = [0.0, 0.0]
    for one, other in zip(packed, whole, strict=True):
        assert one.shape == other.shape
        assert one.isfinite().all()
        torch.testing.assert_close(one[needed], other[needed], rtol=1e-10, atol=1e-12)
        weight = torch.randn(other[needed].shape, generator=draws, dtype=torch.float64)
        losses = [loss + (weight * said[needed]).sum() for loss, said in zip(losses, (one, other), strict=True)]
    found, wanted = (torch.autograd.grad(loss, list(params.values())) for loss in losses)
    for name, gradient, expected in zip(params, found, wanted, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12, msg=name)


def test_dropout_reads_everything():
    config = dataclasses.replace(SMALL, dropout=0.3)
    params, (tokens, needed) = stack(config, 2, extra=0.3), prompted(2, 3, 9, 3)
    draws = [[torch.Generator().manual_seed(trial) for trial in range(2)] for _ in range(2)]
    packed = gpt.forward(params, config, tokens, dropout_generators=draws[0], needed=needed)
    whole = gpt.forward(params, config, tokens, dropout_generators=draws[1])
    assert torch.equal(packed.logits, whole.logits)
