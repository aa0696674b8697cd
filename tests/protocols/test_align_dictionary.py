"""A dictionary of all identifiers against a whole alignment: what somebody finds who tries every one. Beyond its own
ids and the intersection: nothing, in either engine, without a secret or with a party's own.

Here with some thousand candidates; with a million by `make dictionary` (scripts/sweeps/dictionary.py).
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc.domains import Domain
from mpc.group import ristretto255
from mpc.group.id_column import IdColumn
from mpc.group.ristretto255 import PointVector, Scalar
from mpc.link import PartyId
from mpc.protocols import align
from mpc.protocols.align import AlignOptions, Blinded, Returned
from mpc.protocols.align_count import Programmed
from mpc.protocols.align_oprf import Tags
from mpc.sets.hidden_count import Counted
from mpc.sets.oprf import Codes, Offsets
from mpc.testing.memory_link import Network, Sent, party, run_roles

CANDIDATES = 12_000
BANK, SHOP, PHONE = (PartyId(name) for name in ("bank-a", "shop-b", "telecom-c"))
OWN = {BANK: range(0, 3000), SHOP: range(2000, 5000), PHONE: range(2500, 6000)}   # 500 in common
SESSION = b"job 0123456789abcdef"
U64 = NDArray[np.uint64]


def ids(numbers: range) -> list[bytes]:
    return [b"customer-%07d" % i for i in numbers]


@dataclass
class Heard:
    """One alignment: who sent what to whom, and the secret of each list's owner (ecdh)."""

    transcript: list[Sent]
    secrets: dict[PartyId, Scalar] = field(default_factory=dict)

    def words(self, to: PartyId | None = None) -> U64:
        """Every aligned word that was received, by one party or by anybody; sorted."""
        found = []
        for sent in self.transcript:
            if to in (None, sent.receiver):
                found += [first_words(column) for column in columns_of(sent.message)]
        return np.unique(np.concatenate(found))


def columns_of(message: object) -> list[U64]:
    """The values of a message, each (n, words), where it has values."""
    if isinstance(message, Blinded | Counted):
        return [np.frombuffer(message.points.data, np.uint64).reshape(-1, 4)]
    if isinstance(message, Returned):
        heads = np.frombuffer(message.heads, np.uint8).reshape(-1, align.HEAD_BYTES)
        return [heads[:, :8].copy().view(np.uint64)]
    if isinstance(message, Offsets):
        return [np.frombuffer(message.rows, np.uint64).reshape(-1, 4)]
    if isinstance(message, Programmed):
        return [message.words.values[:, None]]
    if isinstance(message, Tags):
        return [message.first.values[:, None]]
    return []


def first_words(column: U64) -> U64:
    return column.reshape(-1)


def played(engine: Any, session: bytes = SESSION, seed: int = 1) -> Heard:
    network, heard = Network(), Heard([])
    walk = align._Walk.__init__

    def spied(self: Any, me: Any, peers: Any, options: Any, accept: Any, sizes: Any, secret: Scalar, seed: Any) -> None:
        heard.secrets[me.id] = secret
        walk(self, me, peers, options, accept, sizes, secret, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(align._Walk, "__init__", spied)
        rows = asyncio.run(run_roles({
            me: align.run(party(me, seed), {peer: network.link(me, peer) for peer in OWN if peer != me}, ids(own),
                          AlignOptions(BANK, 100, session, engine))
            for me, own in OWN.items()
        }))
    assert len(rows[BANK]) == 500
    heard.transcript = network.transcript
    return heard


def hits(words: U64, tried: U64) -> int:
    """How many of the candidates, a row of words each, show a word that was heard."""
    places = np.minimum(np.searchsorted(words, tried), len(words) - 1)
    return int(np.any(words[places] == tried, axis=1).sum())


def points(vector: PointVector) -> U64:
    return np.frombuffer(vector.data, np.uint64).reshape(-1, 4)[:, :1]   # where a point or its head begins


def label(domain: Domain) -> bytes:
    return domain.encode() + b"/" + SESSION


def without_secrets(candidates: list[bytes]) -> dict[str, U64]:
    """What anybody can compute for each candidate: hashes, points, digests, codes, places."""
    key = hashlib.sha256(Domain.ALIGN_DIGEST.encode() + b"\0" + SESSION).digest()
    digests, codes = IdColumn.of(candidates).digests(key), Codes(SESSION)
    joined = np.column_stack([digests, np.zeros(len(digests), np.uint64)])   # as counted, with a word of nothing
    return {
        "points of the lists": points(ristretto255.hash_to_group(candidates, label(Domain.ALIGN_HASH_TO_GROUP))),
        "points of a count": points(
            ristretto255.hash_to_group([row.tobytes() for row in joined], label(Domain.ALIGN_COUNT))
        ),
        "digests": digests, "codes": codes.code(digests), "places": codes.words(digests),
        "plain hashes": np.frombuffer(b"".join(hashlib.sha256(one).digest() for one in candidates),
                                      np.uint64).reshape(-1, 4),
        "the first bytes": np.frombuffer(b"".join(one[-8:] for one in candidates), np.uint64)[:, None],
    }


def attacks(engine: str, count: int) -> dict[str, int]:
    """Hits of `count` candidates, all true ids among them: by strangers, and (ecdh) by each party with its secret."""
    heard, candidates = played(engine), ids(range(count))
    found = {what: hits(heard.words(), tried) for what, tried in without_secrets(candidates).items()}
    for name, secret in heard.secrets.items():
        tried = points(ristretto255.hash_and_multiply(candidates, label(Domain.ALIGN_HASH_TO_GROUP), secret))
        found[f"points under the secret of {name}"] = hits(heard.words(to=name), tried)
    return found


@pytest.mark.parametrize("engine", ["ecdh", "oprf"])
def test_a_dictionary_finds_nothing_in_what_was_heard(engine: str) -> None:
    found = attacks(engine, CANDIDATES)
    assert len(found) == (10 if engine == "ecdh" else 7)
    assert not any(found.values()), found


def test_whoever_had_all_secrets_would_find_exactly_the_leaders_list_and_the_intersection() -> None:
    """The attack works: it lacks nothing but secrets."""
    heard, candidates = played("ecdh"), ids(range(CANDIDATES))
    values = ristretto255.hash_to_group(candidates, label(Domain.ALIGN_HASH_TO_GROUP))
    for secret in heard.secrets.values():
        values = ristretto255.multiply(values, secret)
    assert hits(heard.words(to=BANK), points(values)) == len(OWN[BANK])


@pytest.mark.parametrize("engine", ["ecdh", "oprf"])
def test_two_sessions_over_the_same_ids_share_no_value(engine: str) -> None:
    first, second = played(engine).words(), played(engine, b"job fedcba9876543210", seed=2).words()
    assert not np.isin(first, second).any()
    assert min(len(first), len(second)) > 10_000
