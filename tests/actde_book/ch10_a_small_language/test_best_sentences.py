"""The optimum's sentences at each price, against the initial policy times e to the reward over the price."""

import numpy as np
import torch
from actde_book.ch10_a_small_language.best_sentences import best_sentences


def test_the_optimum_is_the_tilted_initial_policy():
    generator = np.random.default_rng(0)
    chances, reward = generator.dirichlet(np.ones(30)), generator.random(30)
    betas = [5.0, 0.3, 0.01]
    shown = best_sentences(torch.tensor(chances).log(), torch.tensor(reward), betas, lambda k: f"sentence {k}").data
    for beta, step in zip(betas, shown["steps"], strict=True):
        tilted = chances * np.exp(reward / beta)
        tilted /= tilted.sum()
        order = np.argsort(-tilted)[:8]
        assert [shown["sentences"][k] for k in step["likeliest"]] == [f"sentence {k}" for k in order]
        np.testing.assert_allclose(step["chances"], tilted[order], rtol=1e-10)
        np.testing.assert_allclose(shown["before"][step["likeliest"]], chances[order], rtol=1e-10)
        expected = tilted @ reward, tilted @ np.log(tilted / chances), np.exp(-tilted @ np.log(tilted))
        np.testing.assert_allclose([step[key] for key in ("reward", "nats", "sentences")], expected, rtol=1e-10)
    expected = chances @ reward, 0, np.exp(-chances @ np.log(chances))
    np.testing.assert_allclose([shown["initial"][key] for key in ("reward", "nats", "sentences")], expected, atol=1e-10)


def test_the_table_begins_with_the_initial_policy():
    chances, reward = (torch.tensor(numbers, dtype=torch.float64) for numbers in ([0.75, 0.25], [0, 1]))
    figure = best_sentences(chances.log(), reward, [0.5, 1, 1, 1, 0.1], "ab".__getitem__)
    # Mean reward 1/4; e to the entropy is 4 / 3^(3/4) = 1.75. At 0.1, b is 1/4 e^10 against 3/4: .99986.
    assert figure.rows[0] == ("initial policy", "0.250", "0.00", "2", "a (75.0%)")
    assert [row[0] for row in figure.rows] == ["initial policy", "β = 0.5", "β = 0.1"]
    assert figure.rows[2][-1] == "b (100.0%)"
