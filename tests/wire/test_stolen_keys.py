"""Who holds a node's TLS key, and not its identity key, or a certificate that was withdrawn: on either end of a stream.

Each attack runs twice: with the defence, and with it taken out, where it has to succeed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from mpc.errors import MpcError, PeerError, Reason
from mpc.link import PartyId
from mpc.protocols.align import SetSize
from tests.wire.conftest import APPROVALS, JOB, World, authority, identity
from tests.wire.test_hostile_peer import Rogue, envelope
from wire import certificates, peer_stream, tls
from wire.codec import Envelope
from wire.errors import RemoteFailure, Unauthenticated
from wire.gatekeeper import Gatekeeper
from wire.peer_hub import PeerHub
from wire.signing import Identity, StreamEnd, job_opened, open_job, prove_stream, stream_proven

A, B = PartyId("bank-a"), PartyId("bank-b")
SECRET = 4711
DEFENCE = pytest.mark.parametrize("defended", [True, False], ids=["defended", "control"])


async def read_secret(honest: PeerHub, thief: PeerHub, victim: PartyId, claimed: PartyId) -> int:
    """What the thief, as `claimed`, reads of a job that `victim` runs with it."""
    ours, theirs = await asyncio.gather(
        honest.open(JOB, [claimed], APPROVALS), thief.open(JOB, [victim], APPROVALS), return_exceptions=True
    )
    for outcome in (ours, theirs):
        if isinstance(outcome, BaseException):
            raise outcome
    await ours[claimed].channel("x").send(SetSize(SECRET))
    return (await theirs[victim].channel("x").receive(SetSize)).count


def without_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was before: a greeting proves nothing, and an opening is taken for what it says."""
    monkeypatch.setattr(peer_stream, "stream_proven", lambda *arguments: True)
    monkeypatch.setattr(peer_stream, "job_opened", lambda *arguments: True)


@DEFENCE
async def test_the_tls_key_of_the_one_who_dials_runs_nothing(make_world, monkeypatch, defended):
    if not defended:
        without_proof(monkeypatch)
    world = make_world()
    honest = await world.start("bank-b")
    thief = await world.start("bank-a", key=Identity.generate())
    if not defended:
        assert await read_secret(honest, thief, B, A) == SECRET
        return
    opening = asyncio.create_task(honest.open(JOB, [A], APPROVALS))
    with pytest.raises(RemoteFailure, match="a signature does not fit") as caught:
        await thief.open(JOB, [B], APPROVALS)
    assert (caught.value.public.culprit, caught.value.public.reason) == ("bank-a", "BAD_SIGNATURE")
    assert not honest._streams
    assert not honest._early
    with pytest.raises(MpcError):      # nobody but the thief came: the job ends for want of bank-a
        await opening


@DEFENCE
async def test_the_tls_key_of_the_one_who_is_dialled_runs_nothing(make_world, monkeypatch, defended):
    if not defended:
        without_proof(monkeypatch)
    world = make_world()
    thief = await world.start("bank-b", key=Identity.generate())
    honest = await world.start("bank-a")
    if not defended:
        assert await read_secret(honest, thief, A, B) == SECRET
        return
    opening = asyncio.create_task(thief.open(JOB, [A], APPROVALS))
    with pytest.raises(PeerError) as caught:
        await honest.open(JOB, [B], APPROVALS)
    assert (caught.value.culprit, caught.value.step, caught.value.reason) == (B, "greeting", Reason.BAD_SIGNATURE)
    with pytest.raises(MpcError):
        await opening


@DEFENCE
async def test_who_hears_an_opening_cannot_echo_it_nor_read_the_approvals_in_it(make_world, monkeypatch, defended):
    """bank-a itself, by both its keys, but without the approvals of this job: another spec was signed there."""
    if not defended:
        monkeypatch.setattr(peer_stream, "job_opened", lambda *arguments: True)
    world = make_world()
    hub = await world.start("bank-b")
    rogue = await Rogue.dial(world)
    opening = asyncio.create_task(hub.open(JOB, [A], APPROVALS))
    heard = b""
    while True:
        raw = await rogue.call.read()
        heard += raw
        if (said := Envelope.FromString(raw)).WhichOneof("body") == "open":
            break
    assert bytes.fromhex(APPROVALS) not in heard
    await rogue.write(envelope(job=JOB, open=said.open))
    if defended:
        with pytest.raises(PeerError) as caught:
            await opening
        assert (caught.value.culprit, caught.value.reason) == (A, Reason.OTHER_SPEC)
    else:
        assert set(await opening) == {A}
    rogue.call.cancel()
    await rogue.channel.close()


async def test_a_guess_at_the_approvals_is_refused_and_the_true_ones_are_taken(make_world):
    for approvals, good in (("ee" * 32, False), (APPROVALS, True)):
        world = make_world()
        hub = await world.start("bank-b")
        rogue = await Rogue.dial(world)
        await rogue.open(approvals)
        if good:
            assert set(await hub.open(JOB, [A], APPROVALS)) == {A}
        else:
            with pytest.raises(PeerError) as caught:
                await hub.open(JOB, [A], APPROVALS)
            assert caught.value.reason is Reason.OTHER_SPEC
        rogue.call.cancel()
        await rogue.channel.close()


ONE = StreamEnd("bank-a", "1a", b"a" * 16, b"n" * 16)
TWO = StreamEnd("bank-b", "2b", b"b" * 16, b"m" * 16)
KEY = Identity.generate()
OTHER_ENDS = {
    "another serial number of the signer": (StreamEnd("bank-a", "1b", ONE.instance, ONE.nonce), TWO),
    "another serial number of the other": (ONE, StreamEnd("bank-b", "2c", TWO.instance, TWO.nonce)),
    "another process": (ONE, StreamEnd("bank-b", "2b", b"c" * 16, TWO.nonce)),
    "another stream": (StreamEnd("bank-a", "1a", ONE.instance, b"k" * 16), TWO),
    "another party": (ONE, StreamEnd("bank-c", "2b", TWO.instance, TWO.nonce)),
    "the other direction": (TWO, ONE),
    "parts that run together": (StreamEnd("bank-a1", "a", ONE.instance, ONE.nonce), TWO),
}


@pytest.mark.parametrize("case", OTHER_ENDS)
def test_a_proof_and_an_opening_hold_for_one_stream_in_one_direction(case):
    proof, opening = prove_stream(KEY, ONE, TWO), open_job(KEY, ONE, TWO, JOB, b"p" * 32)
    assert stream_proven(KEY.public_hex, ONE, TWO, proof)
    assert job_opened(KEY.public_hex, ONE, TWO, JOB, b"p" * 32, opening)
    signer, other = OTHER_ENDS[case]
    assert not stream_proven(KEY.public_hex, signer, other, proof)
    assert not job_opened(KEY.public_hex, signer, other, JOB, b"p" * 32, opening)


def test_an_opening_holds_for_one_job_and_its_approvals_and_is_no_proof():
    opening = open_job(KEY, ONE, TWO, JOB, b"p" * 32)
    assert not job_opened(KEY.public_hex, ONE, TWO, "ba" * 32, b"p" * 32, opening)
    assert not job_opened(KEY.public_hex, ONE, TWO, JOB, b"q" * 32, opening)
    assert not job_opened(Identity.generate().public_hex, ONE, TWO, JOB, b"p" * 32, opening)
    assert not stream_proven(KEY.public_hex, ONE, TWO, opening)


# ---------------------------------------------------------------- withdrawn certificates


@DEFENCE
async def test_a_withdrawn_certificate_serves_nobody_who_dials_it(make_world, monkeypatch, defended):
    """The thief of all that bank-b had: TLS key and identity key. The serial number is on everybody's list."""
    world, stolen = make_world(), identity("bank-b")
    thief = await world.start("bank-b", tls=stolen)
    world.denied_serials = (certificates.serial(stolen.certificate_pem),)
    honest = await world.start("bank-a")
    if not defended:
        monkeypatch.setattr(honest._keeper, "_denied", frozenset())
        assert await read_secret(honest, thief, A, B) == SECRET
        return
    with pytest.raises(Unauthenticated, match="was withdrawn") as caught:
        await honest.open(JOB, [B], APPROVALS)
    assert (caught.value.whose, caught.value.reason) == ("bank-b", "certificate-denied")
    assert not thief._early
    assert not thief._streams


@contextlib.asynccontextmanager
async def switch(addresses: list[str]) -> AsyncIterator[str]:
    """A host on the way that leads each new connection to the next of `addresses`, the last one for ever."""
    left, carrying = list(addresses), set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(asyncio.current_task())
        host, port = tls.split_address(left.pop(0) if len(left) > 1 else left[0])
        there, back = await asyncio.open_connection(host, port)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)


@DEFENCE
async def test_who_shows_a_good_certificate_first_and_a_withdrawn_one_then_does_not_get_past_the_handshake(
    make_world, monkeypatch, defended
):
    """The look and the call are two connections: what was looked at is all that the second one trusts."""
    honest, world, stolen = make_world(), make_world(), identity("bank-b")
    await honest.start("bank-b")
    await world.start("bank-b", tls=stolen)
    good, bad = honest.addresses["bank-b"], world.addresses["bank-b"]
    world.denied_serials = (certificates.serial(stolen.certificate_pem),)
    if not defended:
        real = tls.dial
        monkeypatch.setattr(tls, "dial", lambda address, party, trusted, own: real(
            address, party, authority(party).certificate_pem, own))
    async with switch([good[0], bad[0]]) as between:
        member, own = world.member("bank-b").model_copy(update={"address": between}), identity("bank-a")
        channel = (await tls.reach(member, Gatekeeper(world.consortium, own), own)).channel
        try:
            state = channel.get_state(try_to_connect=True)
            async with asyncio.timeout(10):
                while state.name not in ("READY", "TRANSIENT_FAILURE"):
                    await channel.wait_for_state_change(state)
                    state = channel.get_state()
            assert state.name == ("TRANSIENT_FAILURE" if defended else "READY")
        finally:
            await channel.close(None)


async def test_a_renewed_certificate_is_looked_at_anew(make_world):
    world = make_world()
    await world.start("bank-b")
    honest = await world.start("bank-a")
    for number in range(2):
        job = f"{number}{number}" * 32
        ours, theirs = await asyncio.gather(
            honest.open(job, [B], APPROVALS), world.hubs["bank-b"].open(job, [A], APPROVALS))
        await ours[B].send(SetSize(number))
        assert (await theirs[A].receive(SetSize)).count == number
        if number == 0:
            await world.hubs["bank-b"].stop()
            await world.listeners["bank-b"].stop(0.2)
            await asyncio.sleep(0.1)
            await world.start("bank-b")          # another certificate, another port
            honest._consortium = world.consortium


def test_the_serial_number_is_spelled_as_the_consortium_file_spells_it():
    leaf = identity("bank-a")
    denied = (certificates.serial(leaf.certificate_pem),)
    world = World(("bank-a", "bank-b"), denied_serials=denied)
    keeper = Gatekeeper(world.consortium, identity("bank-b"))
    with pytest.raises(Unauthenticated, match=f"the certificate {denied[0]} of bank-a was withdrawn"):
        keeper.identify(leaf.certificate_pem)
