"""Settings: the published values, and messages for what is not allowed."""

import pytest

from actde_nb.training.algorithms import ALGORITHMS
from actde_nb.training.config import Config


def test_defaults_are_the_published_ones():
    config = Config()
    assert (config.batch, config.steps, config.updates_per_rollout) == (64, 100, 4)
    assert (config.discount, config.gae_lambda, config.clip, config.value_clip) == (0.5, 0.95, 0.2, 0.2)
    assert (config.learning_rate, config.beta1, config.beta2) == (5e-4, 0.9, 0.95)
    assert (config.weight_decay, config.gradient_clip, config.whiten) == (0.1, 1.0, False)
    assert (ALGORITHMS["actde"].value_coefficient, ALGORITHMS["actde"].q_coefficient) == (0.1, 1.0)
    assert (config.trials, config.updates, config.rollouts) == (10, 10_000, 2_500)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "a2c"}, "algorithm = 'a2c': allowed are ppo, actde, "),
        ({"optimiser": "adam"}, "optimiser = 'adam': allowed are adamw, sgd"),
        ({"trials": 0}, "trials = 0: allowed are whole numbers of 1 or more"),
        ({"steps": True}, "steps = True: allowed are whole numbers"),
        ({"seed": -1}, "seed = -1: allowed are whole numbers of 0 or more"),
        ({"discount": 1.5}, r"discount = 1.5: allowed are numbers in \[0, 1\]"),
        ({"gae_lambda": float("nan")}, "gae_lambda = nan"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: allowed are finite numbers above zero"),
        ({"epsilon": 0.0}, "epsilon = 0.0: allowed are finite numbers above zero"),
        ({"weight_decay": -0.1}, "weight_decay = -0.1: allowed are finite numbers of zero or more"),
        ({"beta2": 1.0}, r"beta2 = 1.0: allowed are numbers in \[0, 1\)"),
        ({"updates": 10}, "updates = 10: allowed are multiples of updates_per_rollout = 4"),
        ({"checkpoint_every": 6}, "checkpoint_every = 6: allowed are multiples"),
    ],
)
def test_what_is_not_allowed_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)
