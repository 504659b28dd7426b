"""Curvatures: against matrices with a known spectrum, dense Hessians, identities of the expected reward."""

import copy

import numpy as np
import pytest
import torch
from actde_book.ch14_sharpness import sharpness

from actde_nb.exact import policy_on_tree
from actde_nb.networks import gpt, over_tree
from actde_nb.networks.policies import Network
from actde_nb.worlds.grammar import END, START, Grammar
from actde_nb.worlds.tree import grow

GRAMMAR = Grammar(
    (".", "so", "a", "b"),
    {
        START: {"so": (1.0, "first")},
        "first": {"a": (0.7, "second"), "b": (0.3, "second")},
        "second": {"a": (0.4, "stop"), "b": (0.4, "stop"), ".": (0.2, END)},
        "stop": {".": (1.0, END)},
    },
    longest=5,
)
TREE = grow(GRAMMAR, "so")
SIZE = gpt.GPTConfig(2, 2, 4, block_size=6, vocabulary=6)
SPEECH = sharpness.Speech(TREE, GRAMMAR, SIZE)
REWARD = torch.linspace(0, 1, len(TREE.leaves), dtype=torch.float64) ** 2


def networks(trials=2, scale=8.0):
    """Small ones, in float64, further from uniform than fresh ones."""
    params = gpt.init(SIZE, trials, [torch.Generator().manual_seed(i) for i in range(trials)])
    return {
        name: value.double() * (scale if value.ndim > 2 and "norm" not in name else 1) for name, value in params.items()
    }


def initial(params):
    with torch.no_grad():
        return SPEECH.sentences(params)


def dense(loss, params, trial):
    """The Hessian of one network's loss, by torch.func.

    Of a stack of two or more: for a stack of one torch 2.13 has wrong second derivatives by torch.func, which differ
    from finite differences and from those by differentiating twice.
    """
    flat = sharpness.flatten(params)
    assert len(flat) > 1

    def alone(row):
        rows = torch.stack([row if i == trial else other for i, other in enumerate(flat)])
        return loss(sharpness.unflatten(rows, params))[trial]

    return torch.func.hessian(alone)(flat[trial])


def quadratics(spectra, seed=0):
    """Matrices with given eigenvalues in random orthogonal bases, and the loss x'Ax/2 of each."""
    bases = torch.linalg.qr(
        torch.randn(len(spectra), 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    )[0]
    matrices = bases @ torch.tensor(spectra, dtype=torch.float64).diag_embed() @ bases.mT

    def loss(params):
        x = torch.cat([params["x"], params["y"].flatten(1)], 1)
        return 0.5 * (x * (matrices @ x[..., None])[..., 0]).sum(1)

    params = {
        "x": torch.ones(len(spectra), 2, dtype=torch.float64),
        "y": torch.ones(len(spectra), 2, 2, dtype=torch.float64),
    }
    return matrices, loss, params


def test_a_quadratic_of_known_spectrum():
    # One with a gap, one with a negative end, one whose eigenvalues are two values only.
    spectra = [[5.0, 2, 1, 0.5, 0, -1], [1.0, 0.9, 0.8, 0, -3, -4], [2.0, 2, 2, 2, 1, 1]]
    _, loss, params = quadratics(spectra)
    found = sharpness.extremes(loss, params, torch.Generator().manual_seed(1), steps=6)
    torch.testing.assert_close(found.highest, torch.tensor([5.0, 1, 2], dtype=torch.float64))
    torch.testing.assert_close(found.lowest, torch.tensor([-1.0, -4, 1], dtype=torch.float64))


def test_fewer_steps_never_overestimate():
    _, loss, params = quadratics([[5.0, 4.8, 1, 0.5, 0, -1]])
    highest = [
        sharpness.extremes(loss, params, torch.Generator().manual_seed(2), k).highest.item() for k in range(1, 7)
    ]
    assert np.all(np.diff(highest) > -1e-9)
    assert highest[-1] == pytest.approx(5)


def test_power_iteration_is_slower():
    matrices, loss, params = quadratics([[5.0, 4.8, 1, 0.5, 0, -1]])
    vector = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for _ in range(3):
        vector = matrices[0] @ vector
    vector /= vector.norm()
    power = (vector @ matrices[0] @ vector).item()
    found = sharpness.extremes(loss, params, torch.Generator().manual_seed(2), 4).highest.item()
    assert power < found <= 5 + 1e-9


@pytest.mark.parametrize("price", [0.0, 0.3])
def test_against_the_dense_hessian_of_a_network(price):
    params = networks()
    loss = SPEECH.loss(REWARD, initial(networks(scale=4.0))[0], price)
    matrices = torch.stack([dense(loss, params, trial) for trial in range(2)])
    found = sharpness.extremes(loss, params, torch.Generator().manual_seed(0), steps=60)
    for trial, spectrum in enumerate(torch.linalg.eigvalsh(matrices)):
        assert found.highest[trial].item() == pytest.approx(spectrum[-1].item(), rel=1e-6)
        assert found.lowest[trial].item() == pytest.approx(spectrum[0].item(), rel=1e-4, abs=1e-9)
    vectors = torch.randn(matrices.shape[:2], dtype=matrices.dtype, generator=torch.Generator().manual_seed(1))
    images = sharpness.hessian_products(loss, params)(vectors)
    torch.testing.assert_close(images, (matrices @ vectors[..., None])[..., 0])


def test_sentences_are_those_of_the_exact_metrics():
    params = {name: value.float() for name, value in networks().items()}
    expected = policy_on_tree.of_policy(TREE, GRAMMAR, Network(SIZE), params, masked=True).sentences
    torch.testing.assert_close(SPEECH.sentences(params).double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(SPEECH.sentences(params).exp().sum(-1), torch.ones(2))


def test_reading_at_once_is_reading():
    params = networks()
    for one, other in zip(
        over_tree.read(params, SIZE, TREE, batch=4), over_tree.read(params, SIZE, TREE, batch=None), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_reading_at_once_is_the_network_sentence_by_sentence():
    params = networks()
    read = over_tree.read(params, SIZE, TREE, batch=None).logits.squeeze(2)
    place = {int(node): i for i, node in enumerate(TREE.inner)}
    for sentence, leaf in zip(TREE.sentences, TREE.leaves, strict=True):
        tokens = sentence[sentence > 0][:-1]  # the last is not read
        said = gpt.forward(params, SIZE, tokens.expand(2, 1, -1)).logits[:, 0]
        node = int(TREE.parent[leaf])
        for t in range(len(tokens) - 1, len(TREE.prompt) - 2, -1):
            torch.testing.assert_close(read[:, place[node]], said[:, t])
            node = int(TREE.parent[node])


def test_too_long_for_the_network():
    short = gpt.GPTConfig(2, 2, 4, block_size=3, vocabulary=6)
    params = gpt.init(short, 1, [torch.Generator()])
    with pytest.raises(ValueError, match="sequences of 5 tokens: allowed are block_size \\+ 1 = 4"):
        over_tree.read(params, short, TREE)


def test_curvature_of_expected_reward_is_a_covariance():
    # v'Hv = Cov(r, dv dv log p + (dv log p)^2), derivatives along v of each sentence's log-probability, one by one.
    params = networks(1)
    flat = sharpness.flatten(params)
    v = torch.randn(flat.shape, dtype=flat.dtype, generator=torch.Generator().manual_seed(3))

    def said(t):
        return SPEECH.sentences(sharpness.unflatten(flat + t * v, params))[0]

    t = torch.zeros((), dtype=flat.dtype, requires_grad=True)
    log_probs = said(t)
    first = [torch.autograd.grad(value, t, create_graph=True)[0] for value in log_probs]
    bend = torch.stack([torch.autograd.grad(d, t, retain_graph=True)[0] + d.detach() ** 2 for d in first])
    chances = log_probs.detach().exp()
    assert (chances @ bend).item() == pytest.approx(0, abs=1e-8)
    covariance = chances @ (REWARD * bend) - (chances @ REWARD) * (chances @ bend)
    loss = SPEECH.loss(REWARD, log_probs.detach(), 0.0)
    curvature = (v * sharpness.hessian_products(loss, params)(v)).sum()
    assert curvature.item() == pytest.approx(-covariance.item(), rel=1e-8)
    deviation = (chances @ (REWARD - chances @ REWARD) ** 2).sqrt() * (chances @ bend**2).sqrt()
    assert abs(covariance) <= deviation
    # And by finite differences.
    h = 1e-4
    values = [said(step).exp() @ REWARD for step in (-h, 0.0, h)]
    assert curvature.item() == pytest.approx(-((values[0] - 2 * values[1] + values[2]) / h**2).item(), rel=1e-4)


def test_at_the_optimum_the_hessian_is_price_times_fisher():
    # Let the first network be the optimum of some reward: r = price * log(policy / initial), for any initial policy.
    params, before, price = networks(), initial(networks(1, scale=4.0))[0], 0.3
    reward = price * (initial(params)[0] - before)
    hessian = dense(SPEECH.loss(reward, before, price), params, 0)
    fisher = dense(SPEECH.moved(params), params, 0)
    torch.testing.assert_close(hessian, price * fisher, atol=1e-9, rtol=1e-6)
    # And the loss rises by the price times the nats moved, however far one goes.
    noise = sharpness.filter_normalised(params, torch.Generator().manual_seed(0))
    offsets = (-1.0, 0.5, 2.0)
    loss, nats = SPEECH.loss(reward, before, price), SPEECH.moved(params)
    rise = (sharpness.along(loss, params, noise, offsets) - loss(params))[:, 0]
    torch.testing.assert_close(rise, price * sharpness.along(nats, params, noise, offsets)[:, 0], atol=1e-9, rtol=1e-6)
    assert (rise > 1e-3).all()


def test_fisher_by_its_definition():
    params = networks()
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    log_probs = SPEECH.sentences(leaves)[0]
    scores = []
    for value in log_probs:
        parts = torch.autograd.grad(value, list(leaves.values()), retain_graph=True, materialize_grads=True)
        scores.append(torch.cat([part[0].flatten() for part in parts]))
    scores, chances = torch.stack(scores), log_probs.detach().exp()
    expected = torch.einsum("s,si,sj->ij", chances, scores, scores)
    params = {name: value.detach() for name, value in params.items()}
    torch.testing.assert_close(dense(SPEECH.moved(params), params, 0), expected, atol=1e-9, rtol=1e-6)


def test_random_directions_are_as_long_as_the_filters():
    params = networks()
    noise = sharpness.filter_normalised(params, torch.Generator().manual_seed(0))
    for name in ("token_embedding", "blocks.attention.weight", "policy.weight"):
        torch.testing.assert_close(noise[name].norm(dim=-1), params[name].norm(dim=-1))
    for name in ("blocks.norm1.weight", "blocks.mlp.bias", "norm.bias", "value.bias"):
        assert (noise[name] == 0).all()
    other = sharpness.filter_normalised(params, torch.Generator().manual_seed(1))
    assert not torch.equal(noise["policy.weight"], other["policy.weight"])


def test_rescaling_changes_the_eigenvalue_and_not_the_policy():
    params = networks()
    same = sharpness.rescaled(params, 2.0)
    torch.testing.assert_close(SPEECH.sentences(same), SPEECH.sentences(params))
    before = sharpness.extremes(SPEECH.moved(params), params, torch.Generator().manual_seed(0), 40).highest
    after = sharpness.extremes(SPEECH.moved(same), same, torch.Generator().manual_seed(0), 40).highest
    assert (abs(after / before - 1) > 0.1).all()
    nats = [
        sharpness.along(SPEECH.moved(p), p, sharpness.filter_normalised(p, torch.Generator().manual_seed(5)), (0.1,))
        for p in (params, same)
    ]
    torch.testing.assert_close(*nats)


def test_along_goes_forwards_for_positive_offsets():
    """3 x^2 + 2 x from x = 1 in steps of 2: at x = 0, 1 and 1.5."""
    x, step = {"x": torch.tensor([1.0])}, {"x": torch.tensor([2.0])}
    seen = sharpness.along(lambda p: 3 * p["x"] ** 2 + 2 * p["x"], x, step, (-0.5, 0.0, 0.25))
    assert seen[:, 0].tolist() == [0.0, 5.0, 9.75]


def test_along_leaves_the_network_alone():
    params = networks()
    kept = copy.deepcopy(params)
    direction = sharpness.uphill(SPEECH.moved(networks(scale=4.0)), params)
    values = sharpness.along(lambda p: p["norm.bias"].sum(), params, direction, (0.0, 1.0))
    assert values.shape == (2,)
    for name, value in params.items():
        assert torch.equal(value, kept[name])


def test_uphill_is_the_gradient():
    matrices, loss, params = quadratics([[5.0, 2, 1, 0.5, 0, -1]])
    gradient = matrices[0] @ torch.ones(6, dtype=torch.float64)
    found = sharpness.flatten(sharpness.uphill(loss, params))[0]
    torch.testing.assert_close(found, gradient / gradient.norm())


def test_a_batch_has_the_right_derivatives_on_average():
    # Four hundred copies of one network, each with a batch of its own.
    one, copies = networks(1), 400
    params = {name: value.repeat(copies, *[1] * (value.ndim - 1)) for name, value in one.items()}
    v = torch.randn(sharpness.flatten(one).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = SPEECH.loss(REWARD, initial(one)[0], 0.0)
    batches = sharpness.surrogate(SPEECH, params, REWARD, 8, torch.Generator().manual_seed(0))
    expected = (v * sharpness.hessian_products(exact, one)(v)).sum() * (1 - 1 / 8)
    found = (v * sharpness.hessian_products(batches, params)(v.repeat(copies, 1))).sum(1)
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(copies)
    # The highest eigenvalue is a convex function of the matrix, so that its mean is above that of the mean matrix.
    highest = sharpness.extremes(batches, params, torch.Generator().manual_seed(0), 8).highest
    assert highest.mean() > 7 / 8 * sharpness.extremes(exact, one, torch.Generator().manual_seed(0)).highest.item()


def test_a_batch_that_is_paid_alike_has_no_curvature():
    params = networks(1)
    loss = sharpness.surrogate(SPEECH, params, torch.ones(len(REWARD)), 8, torch.Generator().manual_seed(0))
    found = sharpness.extremes(loss, params, torch.Generator().manual_seed(0))
    assert found.highest.item() == pytest.approx(0, abs=1e-12)


def test_portrait_of_networks():
    params = networks()
    loss = SPEECH.loss(REWARD, initial(params)[0], 0.1)
    found = sharpness.portrait(SPEECH, params, loss, seed=3, steps=30, directions=2)
    assert set(found) == {"highest", "lowest", "fisher", "nats", "rise"}
    expected = sharpness.extremes(loss, params, torch.Generator().manual_seed(3), 30).highest
    np.testing.assert_allclose(found["highest"], expected)
    assert (found["nats"] > 0).all()
    again = sharpness.portrait(SPEECH, params, loss, seed=3, steps=30, directions=2)
    for name, values in found.items():
        np.testing.assert_array_equal(values, again[name])


def test_watching_a_run():
    kept = [networks(), networks(scale=4.0)]
    start = initial(kept[0])[0]
    found = SPEECH.watch(kept, start, {"reward": REWARD})
    assert found["kl"].shape == (2, 2)
    assert found["kl"][0, 0] == pytest.approx(0, abs=1e-12)
    said = initial(kept[1])
    expected = policy_on_tree.divergence(said, start)
    np.testing.assert_allclose(found["kl"][1], expected)
    np.testing.assert_allclose(found["entropy"][1], policy_on_tree.entropy(said))
    np.testing.assert_allclose(found["reward"][1], said.exp() @ REWARD)
