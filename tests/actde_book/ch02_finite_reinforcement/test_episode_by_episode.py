"""One run under two baselines, episode by episode, against the post's two tables."""

import numpy as np
from actde_book.ch02_finite_reinforcement.figures import baselines

from actde_nb.tables.bandit import Bandit, actde, ppo_like, simulate


def test_the_runs_are_those_of_the_posts_tables():
    world, order = Bandit([1.0, 0.5]), np.array([[0], [1], [1], [0]])
    runs = {
        name: simulate(
            world, rule, episodes=4, rng=np.random.default_rng(0), actions=order, record_at=range(5)
        )
        for name, rule in (("v", ppo_like()), ("q", actde()))
    }  # fmt: skip
    figure = baselines(runs, world, ("wedding", "party"), told=(1, 4))
    value, action_value = figure.data["runs"]
    assert value["played"].tolist() == [0, 1, 1, 0]
    # v copies the last reward: 0, 1, .5, .5 before the episodes; q has the reward of a word once it was said.
    np.testing.assert_allclose(value["errors"], [1, -0.5, 0, 0.5])
    np.testing.assert_allclose(value["logits"], [[0, 1, 1, 1, 1.5], [0, 0, -0.5, -0.5, -0.5]])
    np.testing.assert_allclose(action_value["errors"], [1, 0.5, 0, 0])
    np.testing.assert_allclose(action_value["logits"], [[0, 1, 1, 1, 1], [0, 0, 0.5, 0.5, 0.5]])
    np.testing.assert_allclose(action_value["chance"][-1], 1 / (1 + np.exp(-0.5)))
    assert figure.rows == [("1", "1.0", "1.0"), ("4", "2.0", "0.5")]
