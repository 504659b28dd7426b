"""Operations of a sentence: the same whenever they are counted, in proportion to what is done with it."""

import dataclasses

import pytest
from actde_book.ch16_one_frontier.cost import operations

from actde_nb.experiments.stored_runs import LANGUAGE
from actde_nb.worlds.language import Language


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """Operations of a run of the programme, with a hardly pretrained network, by its name and other settings."""
    world, folder = Language(), tmp_path_factory.mktemp("pretrained")

    def count(name: str, **settings) -> float:
        run = dataclasses.replace(LANGUAGE[name], pretraining=40, batch=16, **settings)
        return operations(run, world, folder)

    return count


def test_a_few_operations_for_each_weight_and_word(counted):
    # Two updates on each sentence, forward and back: 2 x 3 x 2 operations for each of the 26,144 weights of trunk and
    # policy head and each token that is read, 3 words of the prompt and up to 12 more; and 2 to say a word, at most
    # 15 times. Attention comes on top.
    weights = 2 * 12 * 32**2 + 32 * 49
    assert 4 * 14 * weights < counted("ppo_free") < 1.3 * 15 * 14 * weights


def test_counted_twice_it_is_the_same(counted):
    assert counted("ppo_free") == counted("ppo_free")


def test_sampling_is_paid_once(counted):
    # With u for two updates and s for sampling, two, four and eight updates cost u + s, 2 u + s and 4 u + s.
    two, four, eight = (
        counted("ppo_free", updates_per_rollout=k, minibatches=1, updates=8 * k, warmup=0, evaluate_every=0,
                checkpoint_every=8 * k)
        for k in (2, 4, 8)
    )  # fmt: skip
    assert eight - four == pytest.approx(2 * (four - two), rel=1e-9)
    assert two > four - two


def test_what_else_is_asked_is_paid(counted):
    plain, priced = counted("ppo_free"), counted("ppo_010")
    assert priced > plain  # the initial policy is asked once
    assert counted("apa_010") == pytest.approx(priced)
    assert counted("rloo_free") < plain  # no value loss
    assert counted("actde_return_shared") <= 1.25 * plain
    assert counted("actde_return_separate") == pytest.approx(2 * plain, rel=0.01)
    assert priced < counted("gaa_hp_cap_100") < 1.7 * priced  # values of other words, no update from them
