"""Institutions with real certificates, real sockets and real TLS, all in one process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest

from mpc.link import PartyId
from wire import certificates
from wire.consortium import Consortium, Coordinator, Member
from wire.grpc_link import Limits, Record
from wire.peer_hub import PeerHub
from wire.server import Listeners, serve
from wire.signing import Identity

JOB = "ab" * 32
APPROVALS = "cd" * 32
QUICK = Limits(receive_s=5.0, open_s=4.0, connect_s=1.0, ping_s=0.2, dead_s=1.0)
_AUTHORITIES: dict[str, certificates.Issued] = {}
_SIGNERS: dict[str, Identity] = {}


def authority(party: str) -> certificates.Issued:
    """One CA per party for the whole test run."""
    return _AUTHORITIES.setdefault(party, certificates.create_authority(party))


def signer(party: str) -> Identity:
    """One identity key per party for the whole test run."""
    return _SIGNERS.setdefault(party, Identity.generate())


def identity(party: str, issued: certificates.Issued | None = None) -> certificates.TlsIdentity:
    """A valid certificate of `party`, or the given one."""
    leaf = issued or certificates.issue(authority(party), party)
    return certificates.TlsIdentity(leaf.certificate_pem, leaf.key_pem, party, authority(party).certificate_pem)


@dataclass
class World:
    """A consortium of the given parties and what runs of it."""

    parties: tuple[str, ...]
    addresses: dict[str, tuple[str, str]] = field(default_factory=dict)
    hubs: dict[str, PeerHub] = field(default_factory=dict)
    listeners: dict[str, Listeners] = field(default_factory=dict)
    denied_serials: tuple[str, ...] = ()
    shown: dict[str, certificates.TlsIdentity] = field(default_factory=dict)   # what each node shows

    @property
    def consortium(self) -> Consortium:
        def pinned(name: str) -> dict[str, Any]:
            ca = authority(name).certificate_pem
            return {"id": name, "ca": ca.decode(), "ca_fingerprint": certificates.fingerprint(ca),
                    "identity": signer(name).public_hex}

        shut = ("127.0.0.1:1", "127.0.0.1:1")   # nobody listens on port 1
        members = [
            Member(**pinned(p), address=self.addresses.get(p, shut)[0], doctor=self.addresses.get(p, shut)[1])
            for p in self.parties
        ]
        return Consortium(
            coordinator=Coordinator(**pinned("conductor")), party=members, denied_serials=list(self.denied_serials)
        )

    def member(self, party: str) -> Member:
        return self.consortium.member(party)

    async def start(
        self, party: str, *, limits: Limits = QUICK, record: Record | None = None,
        services: Callable[[grpc.aio.Server], None] = lambda server: None,
        tls: certificates.TlsIdentity | None = None, key: Identity | None = None, port: int = 0,
    ) -> PeerHub:
        """A node of `party` on free ports, or `port`; `tls`, `key`: with these instead of its own. Start in descending
        order: the lower id dials."""
        shown = self.shown[party] = tls or identity(party)
        hub = PeerHub(self.consortium, shown, key or signer(party), record=record, limits=limits)

        def register(server: grpc.aio.Server) -> None:
            hub.register(server)
            services(server)

        listeners = await serve(self.consortium, shown, f"127.0.0.1:{port}", "127.0.0.1:0", register)
        self.addresses[party] = (f"127.0.0.1:{listeners.port}", f"127.0.0.1:{listeners.doctor_port}")
        self.hubs[party], self.listeners[party] = hub, listeners
        return hub

    async def start_all(self, **options: Any) -> None:
        for party in sorted(self.parties, reverse=True):
            await self.start(party, **options)

    async def stop(self) -> None:
        for hub in self.hubs.values():
            await hub.stop()
        for listeners in self.listeners.values():
            await listeners.stop(0.2)

    def others(self, party: str) -> list[PartyId]:
        return [PartyId(other) for other in self.parties if other != party]


@pytest.fixture
async def make_world() -> AsyncIterator[Callable[..., World]]:
    """Makes worlds and stops them at the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(*parties: str) -> World:
            world = World(parties or ("bank-a", "bank-b"))
            stack.push_async_callback(world.stop)
            return world

        yield make
