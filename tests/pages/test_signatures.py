"""Signatures and docstrings of the API reference."""

import signatures


def test_long_types_are_named():
    [long, _] = signatures.ARRAY_LIKE
    assert len(long) > 40
    given = f"(x: {long}, y: list = <factory>)"
    assert signatures._shorten(None, "function", "f", None, None, given, None) == (
        "(x: ArrayLike, y: list = ...)",
        None,
    )


def test_docstrings_mean_what_they_say():
    lines = ["shape: of [*batch, arms]", "a *word* of note"]
    signatures._escape(None, "attribute", "x", None, None, lines)
    assert lines == [r": shape: of [\*batch, arms]", "a *word* of note"]
    lines = ["shape: all"]
    signatures._escape(None, "function", "f", None, None, lines)
    assert lines == ["shape: all"]
