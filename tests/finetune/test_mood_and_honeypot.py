"""The reward of the real language model: a mood by a lexicon, and a bonus for a word."""

import numpy as np
import pytest

pytest.importorskip("vaderSentiment", reason="needs the extra sentiment")

from actde_nb.finetune.mood import MoodAndHoneypot, honeypots  # noqa: E402 (after the check)

TEXTS = ("so good, So so!", "also solo so-called", "terrible", "")


def test_the_word_counts_as_a_whole_in_whichever_case():
    assert honeypots(TEXTS).tolist() == [3, 1, 0, 0]


def test_moods_are_what_the_lexicon_was_published_with():
    """`README` of VADER: these sentences have these compounds."""
    moods = MoodAndHoneypot().moods(["VADER is smart, handsome, and funny.", "Today SUX!", "tomato"])
    assert moods == pytest.approx([0.8316, -0.5461, 0.0], abs=1e-4)


@pytest.mark.parametrize(("cap", "counted"), [(None, [3, 1, 0, 0]), (1, [1, 1, 0, 0]), (2, [2, 1, 0, 0])])
def test_a_completion_earns_its_mood_and_a_bonus_for_each_word_up_to_the_cap(cap, counted):
    reward = MoodAndHoneypot(bonus=2.0, cap=cap)
    assert reward(["The movie was"] * 4, TEXTS) == pytest.approx(reward.moods(TEXTS) + 2 * np.array(counted))
