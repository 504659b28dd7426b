"""Checks of what a caller passes in: each names the field, the value it got and what is allowed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


class Mendable(Exception):
    """Something a person can mend: the command line shows it as one line, without a traceback."""


class SettingError(Mendable, ValueError):
    """A value that is not allowed, and what is."""


class Diverged(Mendable, FloatingPointError):
    """A NaN or an infinity came up; the run stopped there."""


class CheckpointError(Mendable):
    """A checkpoint that cannot be used, and why."""


class ResultsError(Mendable):
    """A results file that cannot be used, and why."""


class BookError(Mendable):
    """A chapter, a page or a command that cannot be worked with, and why."""


def probabilities(field: str, value: ArrayLike) -> Float[np.ndarray, "*shape arms"]:
    """Return ``value`` as float64 if every entry is positive and the last axis sums to one."""
    array = finite(field, value)
    if np.any(array <= 0) or not np.allclose(array.sum(-1), 1, rtol=0, atol=1e-9):
        raise SettingError(f"{field} = {array.tolist()}: allowed are positive numbers that sum to one")
    return array


def finite(field: str, value: ArrayLike) -> Float[np.ndarray, "*shape"]:
    """Return ``value`` as a float64 array if it holds no NaN and no infinity."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):  # text, or rows of different lengths
        raise SettingError(f"{field} = {value!r}: allowed are arrays of finite numbers") from None
    if not np.isfinite(array).all():
        raise SettingError(f"{field} = {array.tolist()}: allowed are finite numbers")
    return array


def shape(field: str, value: np.ndarray, allowed: tuple[int, ...]) -> np.ndarray:
    """Return ``value`` broadcast to ``allowed``, or say which shape it had."""
    try:
        return np.broadcast_to(value, allowed).copy()
    except ValueError:
        raise SettingError(f"{field} has shape {value.shape}: allowed is {allowed}") from None


def positive(field: str, value: float) -> float:
    """Return ``value`` if it is a finite number above zero."""
    if not (np.isfinite(value) and value > 0):
        raise SettingError(f"{field} = {value}: allowed are finite numbers above zero")
    return value


def unit_interval(field: str, value: float) -> float:
    """Return ``value`` if it lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise SettingError(f"{field} = {value}: allowed are numbers in [0, 1]")
    return value


def one_of(field: str, value: str, allowed: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``allowed``."""
    if value not in allowed:
        raise SettingError(f"{field} = {value!r}: allowed are {', '.join(allowed)}")
    return value


def whole(field: str, value: int, least: int = 1) -> int:
    """Return ``value`` if it is a whole number of ``least`` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(f"{field} = {value!r}: allowed are whole numbers of {least} or more")
    return value


def at_least_zero(field: str, value: float) -> float:
    """Return ``value`` if it is a finite number of zero or more."""
    if not (np.isfinite(value) and value >= 0):
        raise SettingError(f"{field} = {value}: allowed are finite numbers of zero or more")
    return value
