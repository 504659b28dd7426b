"""Operations of a sentence: the same for all draws, in proportion to what is done with it."""

import dataclasses

import pytest

from actde_nb.learning.errors import SettingError
from actde_nb.study.cost import operations
from actde_nb.study.programme import LANGUAGE
from actde_nb.worlds.language import Language


@pytest.fixture(scope="module")
def world() -> Language:
    return Language()


@pytest.fixture(scope="module")
def plain(world) -> float:
    return operations(LANGUAGE["ppo_free"], world)


def test_draws_and_rollout_size_do_not_matter(world, plain):
    other = dataclasses.replace(LANGUAGE["ppo_free"], seed=1)
    assert operations(other, world, sequences=16) == plain


def test_about_six_operations_a_parameter_and_token(world, plain):
    # Two updates on each sentence, each forward and back: 3 x 2 operations for each of the 26,880 weights of the trunk
    # and the policy head, for the 15 tokens before the last; and 12 tokens said, at 2 operations. Attention comes on
    # top, and products with the embedding are look-ups.
    weights = 2 * 12 * 32**2 + 32 * 49
    expected = 2 * 6 * 15 * weights + 12 * 2 * weights
    assert plain == pytest.approx(expected, rel=0.25)


def test_twice_the_updates_cost_what_updates_cost(world, plain):
    # Sampling is paid once: with u for two updates and s for sampling, 2 u + s.
    twice = operations(dataclasses.replace(LANGUAGE["ppo_free"], updates_per_rollout=8, updates=16, warmup=8,
                                           checkpoint_every=8), world)  # fmt: skip
    once = operations(dataclasses.replace(LANGUAGE["ppo_free"], updates_per_rollout=2), world)
    assert twice - plain == pytest.approx(2 * (plain - once), rel=1e-9)


def test_what_else_is_asked_is_paid(world, plain):
    priced = operations(LANGUAGE["ppo_010"], world)
    assert priced > plain  # the initial policy is asked once
    assert operations(LANGUAGE["apa_010"], world) == pytest.approx(priced)
    assert operations(LANGUAGE["rloo_free"], world) < plain  # no value loss
    assert operations(LANGUAGE["actde_return_separate"], world) == pytest.approx(2 * plain, rel=0.01)


def test_promised_costs(world, plain):
    """An update of GAA costs at most 1.35 times PPO's, one of ACTDE at most 1.25 times."""
    leash = operations(LANGUAGE["ppo_hp_cap_100"], world)
    for row in ("gaa", "gaa_batch", "gaa_code"):
        assert operations(LANGUAGE[f"{row}_hp_cap_100"], world) <= 1.35 * leash
    for row in ("actde_000_shared", "actde_return_shared"):
        assert operations(LANGUAGE[row], world) <= 1.25 * plain


def test_sequences_that_cannot_be_dealt(world):
    with pytest.raises(SettingError, match="group"):
        operations(LANGUAGE["rloo_free"], world, sequences=6)
