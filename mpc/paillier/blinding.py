"""Blinding factors of Paillier ciphertexts ahead of their use: drawn when there is nothing else to compute, used once.

`ReadyFactors` belong to one stream of ciphertexts. Which factor blinds which ciphertext does not depend on when it was
drawn, so a run shows nothing of how busy its machine was. Knows neither keys nor plaintexts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import NoReturn

from mpc.kernels.modulus import Modulus, Residues
from mpc.protocol import Party

AT_ONCE = 256        # factors that are drawn in one go while idle: what is due meanwhile waits for so many at most


class ReadyFactors:
    """Factors of one stream, in the order of `draw`, about `expected` in all."""

    __slots__ = ("_draw", "_left", "_lock", "_ready", "_ring")

    def __init__(self, ring: Modulus, draw: Callable[[int], Residues], expected: int) -> None:
        self._ring, self._draw, self._left = ring, draw, expected
        self._ready: deque[Residues] = deque()
        self._lock = Lock()

    def take(self, count: int) -> Residues:
        """The next `count` factors; what is not there is drawn now."""
        with self._lock:
            parts: list[Residues] = []
            while self._ready and count:
                part = self._ready.popleft()
                if len(part) > count:
                    self._ready.appendleft(self._ring.slice(part, count, len(part)))
                    part = self._ring.slice(part, 0, count)
                parts.append(part)
                count -= len(part)
            if count or not parts:
                self._left -= count
                parts.append(self._draw(count))
        return parts[0] if len(parts) == 1 else self._ring.concat(parts)

    def add(self) -> None:
        """Draw some of those that are still to come."""
        with self._lock:
            count = self.missing()
            if count:
                self._left -= count
                self._ready.append(self._draw(count))

    def missing(self) -> int:
        """How many `add` would draw."""
        return max(0, min(AT_ONCE, self._left))

    def __repr__(self) -> str:
        return "ReadyFactors(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("blinding factors are secret and are never pickled or copied")


async def fill(me: Party, factors: ReadyFactors | None) -> None:
    """Draw all that the stream will need while `me` has nothing else to compute."""
    if factors is not None:
        await me.when_idle(factors.add, factors.missing)
