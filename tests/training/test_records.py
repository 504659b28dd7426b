"""Records of rollouts, against a plain list of them."""

from copy import deepcopy

import numpy as np
import pytest

from actde_nb.training.trainer import ROWS, Records


def record(number):
    return {"reward": np.full(3, number, np.float32), "share": np.full((3, 2), -number, np.float32)}


@pytest.mark.parametrize("length", [1, ROWS, 3 * ROWS + 1])
def test_it_is_the_list(length):
    plain, records = [], Records()
    for number in range(length):
        plain.append(record(number))
        records.append(record(number))
    assert len(records) == length
    assert records.names == ("reward", "share")
    for name in records.names:
        assert np.array_equal(records.column(name), np.stack([r[name] for r in plain]))
    for one, other in zip(records, plain, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in other)
    assert np.array_equal(records[-1]["reward"], plain[-1]["reward"])
    assert [r["reward"][0] for r in records[-2:]] == [r["reward"][0] for r in plain[-2:]]
    again = deepcopy(records)
    again.append(record(length))
    assert len(again) == length + 1
    assert np.array_equal(again.column("share")[:-1], records.column("share"))
    assert np.array_equal(again[length]["share"], record(length)["share"])


def test_a_record_is_copied():
    records, first = Records(), record(1)
    records.append(first)
    first["reward"][:] = 7
    assert (records[0]["reward"] == 1).all()


def test_there_is_nothing_beyond_the_end():
    records = Records()
    assert not records
    assert records.names == ()
    records.append(record(0))
    for index in (1, -2):
        with pytest.raises(IndexError, match=f"index = {index}: allowed are -1 to 0"):
            records[index]
