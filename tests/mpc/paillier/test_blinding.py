"""Blinding factors ahead of their use: the same ones, in the same order, each once."""

import pickle
from collections.abc import Callable, Sequence

import pytest

from mpc.paillier.blinding import AT_ONCE, ReadyFactors, fill
from mpc.paillier.ciphertexts import BadCiphertext, SealedVector
from mpc.paillier.encryption import Encryptor, public_encryptor
from mpc.paillier.keys import OwnerBlinder, PrivateKey
from mpc.paillier.rerandomisation import Rerandomiser
from mpc.rng import Rng
from mpc.testing.keys import small_key
from mpc.testing.memory_link import party

KEY = small_key(384, 1)
PUBLIC = KEY.public
TOTAL = 700      # not a multiple of what is drawn at once


def rng(label: str) -> Rng:
    return Rng(bytes(32)).child(label)


class Replies:
    """A re-randomiser with the face of an encryptor."""

    def __init__(self) -> None:
        self._zeros = PUBLIC.parse(KEY.encryptor(rng("zeros"), TOTAL).encrypt([0] * TOTAL), TOTAL)
        self._sealer, self._done = Rerandomiser(PUBLIC, rng("stream"), TOTAL), 0
        self.ready: ReadyFactors | None = self._sealer.ready

    def encrypt(self, values: Sequence[int]) -> SealedVector:
        first, self._done = self._done, self._done + len(values)
        return self._sealer.seal(self._zeros.slice(first, self._done).add_plain(values))


STREAMS: dict[str, Callable[[], Encryptor]] = {
    "the owner's": lambda: KEY.encryptor(rng("stream"), TOTAL),
    "the owner's of an imported key": lambda: PrivateKey(*KEY.primes).encryptor(rng("stream"), TOTAL),
    "anybody's": lambda: public_encryptor(PUBLIC, rng("stream"), TOTAL),
    "a replier's": Replies,
}


def made(encryptor: Encryptor, cuts: Sequence[int], idle: Sequence[int]) -> bytes:
    """TOTAL ciphertexts in calls of `cuts`, with so much idle time before each."""
    data, first = b"", 0
    for count, times in zip(cuts, idle, strict=True):
        for _ in range(times):
            assert encryptor.ready is not None
            encryptor.ready.add()
        data += encryptor.encrypt(range(first, first + count)).data
        first += count
    assert first == TOTAL
    return data


@pytest.mark.parametrize("whose", STREAMS)
def test_ciphertexts_do_not_show_when_their_factors_were_drawn(whose: str) -> None:
    at_once = made(STREAMS[whose](), [TOTAL], [0])
    assert made(STREAMS[whose](), [TOTAL], [5]) == at_once
    assert made(STREAMS[whose](), [1, 299, 0, 400], [1, 0, 2, 0]) == at_once
    assert made(STREAMS[whose](), [300, 400], [0, 1]) == at_once
    assert KEY.decrypt(PUBLIC.parse(SealedVector.received(at_once, TOTAL, PUBLIC.width), TOTAL)) == [*range(TOTAL)]


def test_no_more_is_drawn_than_the_stream_will_need() -> None:
    stock = KEY.encryptor(rng("stream"), TOTAL).ready
    assert stock is not None
    assert stock.missing() == AT_ONCE
    stock.take(TOTAL - 3)
    assert stock.missing() == 3
    stock.add()
    assert stock.missing() == 0
    stock.add()
    assert len(stock.take(3)) == 3
    assert len(stock.take(5)) == 5        # a stream may turn out longer than expected
    assert stock.missing() == 0


async def test_an_idle_party_fills_what_is_missing_and_no_stock_needs_nothing() -> None:
    encryptor = KEY.encryptor(rng("stream"), TOTAL)
    assert encryptor.ready is not None
    await fill(party("bank"), encryptor.ready)
    assert encryptor.ready.missing() == 0
    assert encryptor.encrypt(range(TOTAL)).data == KEY.encryptor(rng("stream"), TOTAL).encrypt(range(TOTAL)).data
    await fill(party("bank"), small_key(384, 1, "phe").encryptor(rng("stream"), TOTAL).ready)


def test_two_streams_of_shared_tables_share_no_factor_and_a_stock_used_twice_is_seen() -> None:
    source = rng("tables")
    tables = OwnerBlinder(KEY, source, TOTAL)
    one, other = (KEY.encryptor(source, 40, tables) for _ in range(2))
    seen: set[int] = set()
    PUBLIC.parse(one.encrypt([0] * 40), 40, seen)
    PUBLIC.parse(other.encrypt([0] * 40), 40, seen)
    assert len(seen) == 80
    assert one.ready is not None
    ready = one.ready.take(1)
    one.ready._draw = lambda count: ready          # the planted fault
    with pytest.raises(BadCiphertext, match="same randomness"):
        PUBLIC.parse(SealedVector.received(one.encrypt([1]).data + one.encrypt([2]).data, 2, PUBLIC.width), 2)


def test_factors_are_secret() -> None:
    stock = KEY.encryptor(rng("stream"), 3).ready
    assert repr(stock) == "ReadyFactors(...)"
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(stock)
