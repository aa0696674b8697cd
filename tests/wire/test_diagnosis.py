"""What an operator reads when two nodes do not come together: whose fault, and the command that mends it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from mpc.errors import PeerError, Reason
from mpc.link import PartyId
from mpc.protocols.align import SetSize
from tests.wire.conftest import APPROVALS, JOB, QUICK, World, authority, identity, signer
from tests.wire.forgery import long_ago
from wire import certificates
from wire.diagnosis import ask_doctor, why_unreachable
from wire.errors import Unauthenticated, Unreachable
from wire.gatekeeper import Gatekeeper
from wire.peer_hub import PeerHub
from wire.private_files import write_private
from wire.server import DoctorService, serve

A, B = PartyId("bank-a"), PartyId("bank-b")


def caller(world: World, party: str) -> tuple[Gatekeeper, certificates.TlsIdentity]:
    own = identity(party)
    return Gatekeeper(world.consortium, own), own


async def test_our_expired_certificate_is_noticed_before_anything_is_dialled(make_world):
    world = make_world()
    await world.start("bank-b")
    expired = identity("bank-a", certificates.issue(authority("bank-a"), "bank-a", now=long_ago()))
    hub = PeerHub(world.consortium, expired, signer("bank-a"), limits=QUICK)
    with pytest.raises(Unauthenticated, match=r"not dialled: the certificate .* of bank-a expired on") as caught:
        await hub.open(JOB, [B], APPROVALS)
    assert caught.value.advice == "on bank-a: party-node cert renew"


async def test_a_node_does_not_start_with_a_certificate_that_peers_would_refuse():
    world = World(("bank-a", "bank-b"))
    issue = certificates.issue
    for leaf in (issue(authority("bank-a"), "bank-a", now=long_ago()), issue(authority("bank-b"), "bank-a")):
        with pytest.raises(Unauthenticated):
            await serve(world.consortium, identity("bank-a", leaf), "127.0.0.1:0", "127.0.0.1:0", lambda s: None)


async def test_a_peer_that_does_not_know_our_ca_says_so_and_what_it_must_run(make_world, monkeypatch):
    world = make_world()
    await world.start("bank-b")
    stranger = certificates.issue(certificates.create_authority("bank-a"), "bank-a")   # we changed our CA, untold
    monkeypatch.setattr("wire.tls.check_own", lambda identity: None)
    hub = PeerHub(world.consortium, identity("bank-a", stranger), signer("bank-a"), limits=QUICK)
    began = time.monotonic()
    with pytest.raises(Unauthenticated) as caught:
        await hub.open(JOB, [B], APPROVALS)
    assert "is not signed by the CA that the consortium file pins for bank-a" in caught.value.what
    assert "party-node join FILE" in caught.value.advice
    assert time.monotonic() - began < 5


async def test_a_peer_that_has_no_entry_for_us_says_so(make_world):
    world = make_world("bank-a", "bank-b")
    await world.start("bank-b")
    error = await why_unreachable(world.member("bank-b"), *caller(world, "bank-0"))
    assert str(error) == "bank-0 is not in the consortium file of bank-b. on bank-b: party-node join FILE"
    assert error.whose == "bank-b"


async def test_a_peer_whose_own_certificate_has_expired_is_named(make_world, monkeypatch):
    world = make_world()
    expired = identity("bank-b", certificates.issue(authority("bank-b"), "bank-b", now=long_ago()))
    monkeypatch.setattr("wire.server.check_own", lambda identity: None)
    monkeypatch.setattr("wire.server.Gatekeeper.identify", lambda self, pem: None)
    await world.start("bank-b", tls=expired)
    monkeypatch.undo()
    hub = PeerHub(world.consortium, identity("bank-a"), signer("bank-a"), limits=QUICK)
    with pytest.raises(Unauthenticated, match="of bank-b expired on") as caught:
        await hub.open(JOB, [B], APPROVALS)
    assert caught.value.advice == "on bank-b: party-node cert renew"


async def test_the_doctor_welcomes_a_member_and_tells_the_time(make_world):
    world = make_world()
    await world.start("bank-b")
    opinion = await ask_doctor(world.member("bank-b"), identity("bank-a"))
    assert opinion.refusal is None
    assert abs(opinion.clock_ms / 1000 - time.time()) < 5


async def test_a_doctor_that_does_not_answer_is_not_taken_for_a_refusal(make_world):
    world = make_world()
    await world.start("bank-b")
    world.addresses["bank-b"] = (world.addresses["bank-b"][0], "127.0.0.1:1")
    error = await why_unreachable(world.member("bank-b"), *caller(world, "bank-a"))
    assert isinstance(error, Unreachable)
    assert error.reason == "no-doctor"


def test_the_doctor_holds_nothing_but_the_gatekeeper():
    doctor = DoctorService(Gatekeeper(World(("bank-a", "bank-b")).consortium, identity("bank-b")), "bank-b")
    assert set(vars(doctor)) == {"_keeper", "_me"}


CHILD = """
import asyncio, sys
from wire import certificates
from wire.consortium import Consortium
from wire.grpc_link import Limits
from wire.peer_hub import PeerHub
from wire.signing import Identity
from pathlib import Path

async def main(folder):
    consortium = Consortium.model_validate_json((folder / "consortium.json").read_text())
    hub = PeerHub(consortium, certificates.load(folder, "bank-a"),
                  Identity.from_pem((folder / "identity.pem").read_bytes()), limits=Limits(ping_s=0.2))
    links = await hub.open(sys.argv[2], ["bank-b"], sys.argv[3])
    await asyncio.sleep(60)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_peer_process_that_dies_or_hangs_is_named_in_time(make_world, tmp_path, blow):
    world = make_world()
    hub = await world.start("bank-b")
    leaf = identity("bank-a")
    for name, data in ((certificates.CERTIFICATE_FILE, leaf.certificate_pem), (certificates.KEY_FILE, leaf.key_pem),
                       (certificates.CA_FILE, leaf.ca_pem)):
        write_private(tmp_path / name, data)
    write_private(tmp_path / "identity.pem", signer("bank-a").to_pem())
    (tmp_path / "consortium.json").write_text(world.consortium.model_dump_json())
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), JOB, APPROVALS])
    try:
        for _ in range(40):   # the interpreter of the child needs a moment to start
            if hub._early:
                break
            await asyncio.sleep(0.25)
        link = (await hub.open(JOB, [A], APPROVALS))[A]
        waiting = asyncio.create_task(link.channel("train").receive(SetSize))
        await asyncio.sleep(1.5 * QUICK.dead_s)
        assert not waiting.done()
        began = time.monotonic()
        os.kill(child.pid, blow)
        with pytest.raises(PeerError) as caught:
            await waiting
        assert (caught.value.culprit, caught.value.reason, caught.value.step) == (A, Reason.GONE, "/train#0")
        assert time.monotonic() - began < 4 * QUICK.dead_s
    finally:
        child.kill()
        child.wait()
