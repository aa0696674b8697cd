"""Every protocol passes the one conformance suite; the suite itself notices what it is there to notice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpc.group.ristretto255 import PointVector
from mpc.protocols import PROTOCOLS, align, coin
from mpc.protocols.coin import CoinShare
from mpc.ring import RingVector
from mpc.sharing.opening import Opening
from mpc.testing import conformance
from mpc.testing.conformance import (
    check_blame,
    check_canaries,
    check_description,
    check_ideal,
    check_shape,
    honest,
    play,
)
from mpc.testing.subjects import SUBJECTS
from mpc.testing.transcript import content, encodings, found

ROOT = Path(__file__).resolve().parents[2]
CASES = [pytest.param(s, n, id=f"{name}-{n}") for name, s in SUBJECTS.items() for n in s.parties]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_describes_itself_has_a_page_and_is_under_test(name):
    check_description(PROTOCOLS[name])
    assert PROTOCOLS[name].name == name
    page = (ROOT / "docs" / "protocols" / f"{name}.md").read_text()
    for kind in PROTOCOLS[name].messages:
        assert kind.__name__ in page, f"docs/protocols/{name}.md does not speak of {kind.__name__}"


def test_the_protocols_here_are_the_registered_ones():
    for name, subject in SUBJECTS.items():
        assert PROTOCOLS[name] is subject.spec


def test_the_registry_is_closed():
    with pytest.raises(TypeError):
        PROTOCOLS["another"] = coin.PROTOCOL


@pytest.mark.parametrize(("subject", "parties"), CASES)
async def test_the_result_equals_the_ideal(subject, parties):
    await check_ideal(subject, parties)


@pytest.mark.parametrize(("subject", "parties"), CASES)
async def test_counts_and_sizes_of_messages_depend_on_public_sizes_only(subject, parties):
    await check_shape(subject, parties)


@pytest.mark.parametrize(("subject", "parties"), CASES)
async def test_private_values_appear_in_no_message_in_any_encoding(subject, parties):
    await check_canaries(subject, parties)


@pytest.mark.parametrize(("subject", "parties"), CASES)
async def test_a_deviation_is_blamed_on_its_author_at_its_step(subject, parties):
    assert await check_blame(subject, parties) >= 2 * len(subject.spec.messages)


# ---------------------------------------------------------------- planted faults: the suite must go red


async def test_an_id_in_the_clear_is_found(monkeypatch):
    def leaking(ids, label, secret):
        points = honest_blind(ids, label, secret)
        return PointVector(ids[0][:32].ljust(32, b"\0") + points.data[32:])

    honest_blind = align.blind
    monkeypatch.setattr(align, "blind", leaking)
    trial = SUBJECTS["align"].trial(2, 1)
    network = await play(trial)  # the receiver refuses the false point, but has seen it
    assert found(trial.canaries, content(network.transcript), trial.salts)


async def test_a_missing_mask_is_found(monkeypatch):
    async def bare(me, peers, share):
        return share

    monkeypatch.setattr("mpc.sharing.opening.refreshed", bare)
    with pytest.raises(AssertionError, match="sends private values"):
        await check_canaries(SUBJECTS["score"], 2)


async def test_a_size_that_depends_on_secrets_is_found():
    async def telling(me, peers):
        for link in peers.values():
            await link.send(CoinShare(bytes(1 + me.rng.below(1 << 20) % 97)))
            await link.receive(CoinShare)

    def trial(parties, secrets):
        return conformance.Trial(dict.fromkeys(("bank-a", "bank-b"), telling), lambda results: None)

    with pytest.raises(AssertionError, match="depends on secrets"):
        await check_shape(replace(SUBJECTS["coin"], trial=trial), 2)


async def test_an_unchecked_length_is_found():
    async def careless(me, peers):
        for link in peers.values():
            await link.send(Opening(RingVector(np.arange(4, dtype=np.uint64), 64)))
            await link.receive(Opening)

    def trial(parties, secrets):
        return conformance.Trial(dict.fromkeys(("bank-a", "bank-b"), careless), lambda results: None)

    with pytest.raises(AssertionError, match="nobody noticed Opening: share too short"):
        await check_blame(replace(SUBJECTS["score"], trial=trial), 2)


async def test_a_wrong_result_is_found():
    trial = SUBJECTS["score"].trial(3, 1)
    results = dict((await honest(trial)).results)
    results["bank-a"] = results["bank-a"] + np.uint64(1)
    with pytest.raises(AssertionError, match="not the sum"):
        trial.judge(results)


@pytest.mark.parametrize("form", encodings(b"customer-0001", (b"salt" * 4,)).items(), ids=lambda f: f[0])
def test_every_encoding_of_a_canary_is_searched_for(form):
    name, needle = form
    assert f"canary 0: {name}" in found([b"customer-0001"], b"before" + needle + b"after", (b"salt" * 4,))


def test_random_bytes_hold_no_canary():
    import random

    assert not found([b"customer-0001"], random.Random(5).randbytes(200_000), (b"salt" * 4,))
