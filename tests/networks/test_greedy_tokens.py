"""The tokens not taken, against reading every sequence with its last token replaced."""

import pytest
import torch

from actde_nb.networks import gpt
from actde_nb.networks.greedy_tokens import greedy_tokens

CONFIG = gpt.GPTConfig(2, 2, 8, block_size=9, vocabulary=5)


@pytest.fixture(scope="module")
def network():
    draws = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    fresh = gpt.init(CONFIG, 2, draws)
    return {name: value + 0.3 * torch.randn(value.shape, generator=draws[0]) for name, value in fresh.items()}


def rule(tokens):
    """Nothing above the token before, plus one."""
    return torch.arange(5) <= tokens[..., None] + 1


@pytest.mark.parametrize("legal", [None, rule])
def test_against_one_pass_for_each_place(network, legal):
    tokens = torch.randint(5, (2, 3, 7), generator=torch.Generator().manual_seed(3))
    found = greedy_tokens([network], CONFIG, tokens, 4, legal=legal)
    for place in range(4):
        beginning = tokens[..., : 4 + place]
        logits = gpt.forward(network, CONFIG, beginning).logits[..., -1, :]
        if legal is not None:
            logits = logits.masked_fill(~legal(beginning)[..., -1, :], -torch.inf)
        log_probs, chosen = logits.log_softmax(-1).max(-1)
        assert torch.equal(found.tokens[..., place], chosen)
        torch.testing.assert_close(found.log_probs[..., place], log_probs)
        instead = torch.cat([beginning, chosen[..., None]], -1)
        torch.testing.assert_close(found.values[..., place], gpt.forward(network, CONFIG, instead).values[..., -1])


def test_there_must_be_room_for_one_more(network):
    with pytest.raises(ValueError, match="tokens has 9 places: allowed are fewer than block_size = 9"):
        greedy_tokens([network], CONFIG, torch.zeros(2, 1, 9, dtype=torch.long), 3)
