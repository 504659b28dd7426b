"""The losses that readers paste are those by which the book's models were trained."""

import math
from types import SimpleNamespace

import pytest
import torch

from actde_nb.pages.chapters import chapters
from actde_nb.training import advantages, losses
from actde_nb.training.config import Config
from actde_nb.training.objective import prepare
from actde_nb.training.rollout import Rollout

TRIALS, TEXTS, TOKENS = 1, 8, 5


@pytest.fixture(scope="module")
def pasted() -> SimpleNamespace:
    """What the page's cells define, run in one namespace as a reader would."""
    [page] = chapters(["if_your_model_collapses"])
    cells = [c.source for c in page.notebook.cells if c.cell_type == "code" and "\ndef " in f"\n{c.source}"]
    names = {}
    for cell in cells:
        exec(cell, names)
    return SimpleNamespace(**names)


@pytest.fixture
def draws() -> SimpleNamespace:
    """Arrays of one trial, whose texts end early, but for one."""
    random = torch.Generator().manual_seed(5)
    log_probs, old, reference, advantage = -torch.rand(4, TEXTS, TOKENS, generator=random, dtype=torch.float64)
    length = torch.randint(1, TOKENS, (TEXTS, 1), generator=random)
    length[0] = TOKENS
    mask = torch.arange(TOKENS) < length
    scores = torch.rand(TEXTS, generator=random, dtype=torch.float64)
    names = {"log_probs": log_probs, "old": old, "reference": reference, "advantages": 2 * advantage + 1}
    return SimpleNamespace(**names, mask=mask, scores=scores)


def ends(draws: SimpleNamespace) -> torch.Tensor:
    """The scores as rewards of each text's last token, ``[trial, text, token]``."""
    last = torch.arange(TOKENS) == draws.mask.sum(1, keepdim=True) - 1
    return (last * draws.scores[:, None])[None]


def test_losses_and_their_gradients(pasted, draws):
    x, mask = draws.log_probs.requires_grad_(), draws.mask
    a, old, reference, stack = draws.advantages, draws.old, draws.reference, lambda array: array[None]
    pairs = {
        "ppo": (
            pasted.ppo_loss(x, old, a, mask.double()),
            losses.clipped_surrogate(stack(x), stack(old), stack(a), 0.2, stack(mask)),
        ),
        "apa": (
            pasted.apa_loss(x, reference, a, mask.double(), 0.3),
            losses.advantage_induced(stack(x), stack(reference), stack(a), 0.3, stack(mask)),
        ),
        "awr": (
            pasted.awr_loss(x, a, mask.double(), 0.3),
            losses.advantage_weighted(stack(x), stack(a), 0.3, 20.0, stack(mask)),
        ),
        **{
            kind: (
                pasted.kl_in_loss(x, reference, mask.double(), kind),
                losses.sampled_divergence(stack(x), stack(reference), kind, stack(mask)),
            )
            for kind in ("k1", "k2", "k3")
        },
    }
    for ours, theirs in pairs.values():
        torch.testing.assert_close(ours, theirs[0])
        slopes = [torch.autograd.grad(loss, x, retain_graph=True)[0] for loss in (ours, theirs[0])]
        torch.testing.assert_close(*slopes)


def test_the_clip_may_be_higher_above(pasted):
    old, one = torch.zeros(1, 1), torch.ones(1, 1)
    loss = pasted.ppo_loss(torch.log(1.5 * one), old, one, one, low=0.2, high=0.4)
    assert loss.item() == pytest.approx(-1.4)


def test_the_divergence_in_the_reward(pasted, draws):
    price, empty = torch.tensor([0.25], dtype=torch.float64), torch.zeros(1, TEXTS, TOKENS, dtype=torch.float64)
    rollout = Rollout(
        tokens=torch.zeros(1, TEXTS, TOKENS + 1, dtype=torch.long),
        rewards=ends(draws),
        log_probs=draws.log_probs[None],
        values=empty,
        next_value=empty[..., 0],
        q_taken=empty,
        mask=draws.mask[None],
        reference=draws.reference[None, ..., None],
    )
    config = Config(algorithm="ppo", batch=TEXTS, discount=1.0, gae_lambda=0.0, kl_in_reward=0.25)
    ours = pasted.kl_in_reward(draws.scores, draws.log_probs, draws.reference, draws.mask.double(), 0.25)
    # Without values and lambda an advantage is the reward itself.
    torch.testing.assert_close(ours, prepare(rollout, config, price).advantages[0])


def test_advantages_of_groups(pasted, draws):
    rewards = ends(draws)
    for ours, theirs in (
        (pasted.group_advantages(draws.scores, 4), advantages.group_normalised(rewards, 4)),
        (pasted.group_advantages(draws.scores, 4, divide=False), advantages.group_centred(rewards, 4)),
        (pasted.leave_one_out(draws.scores, 4), advantages.leave_one_out(rewards, 4)),
    ):
        torch.testing.assert_close(ours, theirs[0, :, 0])


def test_entropy(pasted, draws):
    logits = torch.randn(TEXTS, TOKENS, 7, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    theirs = losses.negative_entropy(logits.log_softmax(-1)[None], draws.mask[None])
    torch.testing.assert_close(pasted.entropy(logits, draws.mask.double()), -theirs[0])


def test_the_exact_divergence_and_its_gradient(pasted, draws):
    logits, reference = torch.randn(
        2, TEXTS, TOKENS, 7, generator=torch.Generator().manual_seed(7), dtype=torch.float64
    )
    logits.requires_grad_()
    ours = pasted.kl_exact(logits, reference, draws.mask.double())
    [theirs] = losses.divergence(logits.log_softmax(-1)[None], reference.log_softmax(-1)[None], draws.mask[None])
    torch.testing.assert_close(ours, theirs)
    slopes = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes)


def test_the_exact_divergence_by_hand(pasted):
    """Of (3/4, 1/4) from (1/2, 1/2), at the one token that counts; k1 of the likelier word is another number."""
    policy, reference = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()[None], torch.zeros(1, 2, 2)
    mask = torch.tensor([[1.0, 0.0]])
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert pasted.kl_exact(policy, reference, mask).item() == pytest.approx(by_hand)
    sampled = pasted.kl_in_loss(policy[..., 0], reference.log_softmax(-1)[..., 0], mask, "k1")
    assert sampled.item() == pytest.approx(math.log(1.5))


def test_the_action_conditioned_error(pasted, draws):
    values, q = draws.old * draws.mask, draws.reference * draws.mask
    theirs = advantages.action_conditioned(
        ends(draws), values[None], torch.zeros(1, TEXTS, dtype=torch.float64), q[None], 1.0, 0.0
    )
    ours = pasted.action_conditioned(ends(draws)[0], values, q, draws.mask.double())
    torch.testing.assert_close(ours, theirs[0] * draws.mask)
