"""Many identifiers end to end in one buffer, so that a million of them are no million objects. Never printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn, overload

import numpy as np

from mpc.kernels.psi import U8, blake2b_16
from mpc.ring import I64, U64


class IdColumn(Sequence[bytes]):
    """`data[offsets[i]:offsets[i + 1]]` is the i-th id; (n + 1,) offsets, rising."""

    __slots__ = ("_data", "_offsets")

    def __init__(self, data: U8, offsets: I64) -> None:
        self._data, self._offsets = data, offsets

    @classmethod
    def of(cls, ids: Sequence[bytes]) -> IdColumn:
        """The same ids in this form."""
        if isinstance(ids, IdColumn):
            return ids
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(one) for one in ids], out=offsets[1:])
        return cls(np.frombuffer(b"".join(ids), np.uint8), offsets)

    @property
    def data(self) -> U8:
        """The buffer, of which this column may be a part."""
        return self._data

    @property
    def offsets(self) -> I64:
        """Where each id begins in the buffer, and where the last one ends."""
        return self._offsets

    def digests(self, key: bytes) -> U64:
        """Keyed BLAKE2b-128 of every id: (n, 2) words. `key` has 1..64 bytes."""
        return blake2b_16(self._data, self._offsets, key)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> IdColumn: ...
    def __getitem__(self, index: int | slice) -> bytes | IdColumn:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError("ids are cut in one piece")
            return IdColumn(self._data, self._offsets[start:max(start, stop) + 1])
        place = range(len(self))[index]
        return self._data[self._offsets[place]:self._offsets[place + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        whole, first = self._data.tobytes(), int(self._offsets[0]) if len(self._offsets) else 0
        for stop in self._offsets[1:].tolist():
            yield whole[first:stop]
            first = stop

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a column of ids is no dictionary key

    def __repr__(self) -> str:
        return f"IdColumn({len(self)} ids)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("identifiers are private and are never pickled")
