"""Many identifiers end to end in one buffer, so that a million of them are no million objects. Never printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn, overload

import numpy as np

from mpc.kernels.blake2b import U8, digests_16
from mpc.ring import I64, U64

_CHUNK_IDS = 1 << 16
_WORD = 8
_ODD = np.uint64(0x9E3779B97F4A7C15)   # [Knuth, TAOCP vol. 3, 6.4] multiplicative hashing by the golden ratio
_BELOW = np.array([(1 << 8 * k) - 1 for k in range(_WORD + 1)], np.uint64)   # the first k bytes of a word


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

    @classmethod
    def join(cls, parts: Sequence[IdColumn]) -> IdColumn:
        """All ids of `parts`, in order."""
        offsets = np.zeros(sum(map(len, parts)) + 1, np.int64)
        data = np.empty(sum(len(part._bytes()) for part in parts), np.uint8)
        ids, filled = 0, 0
        for part in parts:
            own = part._bytes()
            data[filled:filled + len(own)] = own
            offsets[ids + 1:ids + len(part) + 1] = part._offsets[1:] + (filled - part._offsets[0])
            ids, filled = ids + len(part), filled + len(own)
        return cls(data, offsets)

    def take(self, rows: I64) -> IdColumn:
        """The ids at `rows`, in that order."""
        starts, lengths = self._offsets[rows], self._offsets[rows + 1] - self._offsets[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        data = np.empty(offsets[-1], np.uint8)
        for first in range(0, len(rows), _CHUNK_IDS):
            part = slice(first, first + _CHUNK_IDS)
            low, high = offsets[first], offsets[min(first + _CHUNK_IDS, len(rows))]
            places = np.arange(low, high) + np.repeat(starts[part] - offsets[:-1][part], lengths[part])
            data[low:high] = self._data[places]
        return IdColumn(data, offsets)

    def firsts(self) -> I64:
        """For each id the place of the first one that equals it."""
        marks = self._fingerprints()
        ordered = np.sort(marks)
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        found = np.arange(len(self))
        if len(twice):  # equal ids have equal fingerprints, and few others do: these are compared byte by byte
            seen: dict[bytes, int] = {}
            rows = np.flatnonzero(np.isin(marks, twice))
            for row, one in zip(rows.tolist(), self.take(rows), strict=True):
                found[row] = seen.setdefault(one, row)
        return found

    def _fingerprints(self) -> U64:
        """64 bits of each id: equal where ids are equal, and hardly ever else. Not secret and no digest."""
        parts = [self[first:first + _CHUNK_IDS]._mixed() for first in range(0, len(self), _CHUNK_IDS)]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint64)

    def _mixed(self) -> U64:
        starts, lengths = self._offsets[:-1] - self._offsets[0], np.diff(self._offsets)
        padded = np.concatenate([self._bytes(), np.zeros(_WORD, np.uint8)])
        words = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, strides=(1,))   # one from every byte on
        marks = lengths.astype(np.uint64) * _ODD
        rows = np.flatnonzero(lengths > 0)
        for start in range(0, int(lengths.max(initial=0)), _WORD):
            rows = rows[lengths[rows] > start]
            own = words[starts[rows] + start] & _BELOW[np.minimum(lengths[rows] - start, _WORD)]
            mixed = (marks[rows] ^ own) * _ODD
            marks[rows] = mixed ^ mixed >> np.uint64(29)
        return marks

    def _bytes(self) -> U8:
        return self._data[self._offsets[0]:self._offsets[-1]]

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
        return digests_16(self._data, self._offsets, key)

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
        whole, first = self._bytes().tobytes(), 0
        for stop in (self._offsets[1:] - self._offsets[0]).tolist():
            yield whole[first:stop]
            first = stop

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a column of ids is no dictionary key

    def __repr__(self) -> str:
        return f"IdColumn({len(self)} ids)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("identifiers are private and are never pickled")
