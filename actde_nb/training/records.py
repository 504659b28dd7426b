"""What was seen of each rollout, one row for each."""

from collections.abc import Mapping, Sequence

import numpy as np

ROWS = 64  # to begin with


class Records(Sequence):
    """A list of records, each a dictionary of small arrays, kept as one array ``[record, ...]`` for each name.

    Thousands of small arrays made between the large ones of training would keep the memory allocator from giving
    anything back, which in a long run comes to gigabytes.
    """

    def __init__(self, columns: Mapping[str, np.ndarray] | None = None):
        self._columns = dict(columns or {})
        self._length = len(next(iter(self._columns.values()))) if self._columns else 0

    @property
    def names(self) -> tuple[str, ...]:
        """What a record holds."""
        return tuple(self._columns)

    def column(self, name: str) -> np.ndarray:
        """All records' entries of one name, ``[record, ...]``."""
        return self._columns[name][: self._length]

    def copy(self) -> "Records":
        """The same records, to go on differently."""
        return Records({name: self.column(name).copy() for name in self._columns})

    def append(self, record: Mapping[str, np.ndarray]) -> None:
        """Copy a record to the end; all have the same names and shapes."""
        if not self._columns:
            self._columns = {name: np.empty((ROWS, *value.shape), value.dtype) for name, value in record.items()}
        elif self._length == len(self._columns[self.names[0]]):
            self._columns = {name: np.concatenate([c, np.empty_like(c)]) for name, c in self._columns.items()}
        for name, value in record.items():
            self._columns[name][self._length] = value
        self._length += 1

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice) -> dict[str, np.ndarray] | list[dict[str, np.ndarray]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(f"index = {index}: allowed are {-self._length} to {self._length - 1}")
        return {name: self.column(name)[index] for name in self._columns}
