"""What the benchmark printed is read as it was printed."""

import pytest
from actde_book.ch21_your_own_model import costs

TOLD = """one thread, torch 2.13.0; an iteration is 32 completions of at most 12 tokens
load of the machine: 0.5 2.5 3.9
PPO, last:2, 4 half updates         5.46 CPU-seconds
    sampling                        2.56
    most memory so far              1.32 GiB
GAA                                 6.63 CPU-seconds, PPO beside it 5.43: 1.22 times
RLOO, TRL 1.16.0, all              11.95 CPU-seconds, 384 tokens
RLOO, here, all, an update         14.10 CPU-seconds, 384 tokens: 0.85 times cheaper a token, wanted 1.3
    most memory so far              6.63 GiB
"""


def test_seconds_times_and_memory():
    assert costs.seconds(TOLD) == {
        "PPO, last:2, 4 half updates": 5.46, "GAA": 6.63, "RLOO, TRL 1.16.0, all": 11.95,
        "RLOO, here, all, an update": 14.1,
    }  # fmt: skip
    assert costs.times(TOLD) == {"GAA": 1.22, "RLOO, here, all, an update": 0.85}
    assert costs.memory(TOLD) == (1.32, 6.63)


def test_the_stored_output_is_whole_and_consistent():
    told = costs.printed()
    usual, times = costs.seconds(told)["PPO, as at first"], costs.times(told)
    grown = {work: seconds for work, seconds in costs.seconds(told).items() if "PPO, " in work and work in times}
    assert len(grown) == 8
    assert all(seconds / usual == pytest.approx(times[work], abs=0.01) for work, seconds in grown.items())
    assert len(costs.memory(told)) == 2
