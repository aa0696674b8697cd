"""Real nodes, a real coordinator, real sockets and certificates, all in this process, and a record of all they get."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc.aio
import structlog

from coordinator.config import CoordinatorDirectory
from coordinator.jobs import driver
from coordinator.jobs.node_client import NodeClient
from coordinator.jobs.plan import JobPlan
from coordinator.jobs.store import Store as CoordinatorStore
from joint_risk.local_consortium import LocalParty, dataset_toml, free_ports
from mpc.protocols.train import Tools
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Sent
from party_node.config import PartyDirectory
from party_node.consent import registration
from party_node.daemon.node import Node, real_tools
from party_node.records.store import Store
from tests.simulation.observer import Recording, observing
from tests.simulation.tables import LABEL_HOLDER, World, job
from wire import certificates
from wire.consortium import Member
from wire.gatekeeper import Gatekeeper
from wire.grpc_link import Limits, Passed
from wire.private_files import write_private
from wire.spec.job import JobSpec
from wire.spec.two_jobs import first_half, second_half
from wire.telemetry import configure

KEY_SEED = 20


@dataclass
class Consortium:
    """The directories of one world."""

    home: Path
    world: World
    tables: list[LocalParty]

    def directory(self, party: str) -> PartyDirectory:
        return PartyDirectory(self.home / party)

    @property
    def coordinator(self) -> CoordinatorDirectory:
        return CoordinatorDirectory(self.home / "coordinator")


def make(home: Path, world: World) -> Consortium:
    """What `init`, `join` and `dataset register` leave."""
    home.mkdir(mode=0o700, parents=True)
    consortium = Consortium(home, world, world.write(home))
    consortium.coordinator.create("coordinator")
    entries = [consortium.coordinator.entry_file.read_text()]
    ports = iter(free_ports(2 * len(world.parties)))
    for party in world.parties:
        entries.append(_init(consortium.directory(party), party, next(ports), next(ports)))
    text = ("version = 1\n\n" + "\n".join(entries)).encode()
    write_private(consortium.coordinator.consortium_file, text)
    for table in consortium.tables:
        directory = consortium.directory(table.id)
        config = directory.load_config()
        write_private(directory.consortium_file(config), text)
        file = directory.root / "dataset.toml"
        write_private(file, dataset_toml(table, [p for p in world.parties if p != table.id]).encode())
        store = Store(directory.state_db)
        registration.keep(registration.prepare(file, config, directory.snapshots).dataset, store)
        store.close()
    return consortium


def _init(directory: PartyDirectory, party: str, port: int, doctor: int) -> str:
    directory.create()
    identity = directory.create_identity()
    ca = certificates.create_directory(directory.tls, party).ca_pem
    addresses = f'"127.0.0.1:{port}"', f'"127.0.0.1:{doctor}"'
    write_private(directory.config_file,
                  f'party = "{party}"\nlisten = {addresses[0]}\ndoctor = {addresses[1]}\napproval = "auto"\n'.encode())
    return (f'[[party]]\nid = "{party}"\naddress = {addresses[0]}\ndoctor = {addresses[1]}\n'
            f'ca_fingerprint = "{certificates.fingerprint(ca)}"\nidentity = "{identity.public_hex}"\n'
            f'ca = """\n{ca.decode()}"""\n')


def fixed_keys(party: int, spec: JobSpec) -> Tools:
    """The real correlations with a key that is made once for the whole test run."""
    return Tools(lambda rng, bits: small_key(bits, KEY_SEED + party), real_tools(spec).make_source)


class RecordingStub:
    """Stands before a control stub and writes down every answer, errors too, as the coordinator's process gets it."""

    def __init__(self, stub: Any, party: str, recording: Recording) -> None:
        self._stub, self._party, self._recording = stub, party, recording

    def __getattr__(self, method: str) -> Any:
        original = getattr(self._stub, method)

        def note(data: bytes) -> None:
            self._recording.coordinator.append((method, self._party, data))

        def failed(error: grpc.aio.AioRpcError) -> None:
            note(repr((error.details(), error.trailing_metadata(), error.debug_error_string())).encode())

        async def unary(request: Any, **options: Any) -> Any:
            try:
                answer = await original(request, **options)
            except grpc.aio.AioRpcError as error:
                failed(error)
                raise
            note(answer.SerializeToString())
            return answer

        def stream(request: Any) -> Watched:
            return Watched(original(request), note, failed)

        return stream if method == "Watch" else unary


class RecordedClient(NodeClient):
    """The coordinator's client of one node, with every answer written down."""

    def __init__(self, member: Member, keeper: Gatekeeper, tls: certificates.TlsIdentity, recording: Recording) -> None:
        super().__init__(member, keeper, tls)
        self._recording = recording

    async def _stub(self) -> Any:
        return RecordingStub(await super()._stub(), self.party, self._recording)


class Watched:
    """A stream of events, noted."""

    def __init__(
        self, call: Any, note: Callable[[bytes], None], failed: Callable[[grpc.aio.AioRpcError], None]
    ) -> None:
        self._call, self._note, self._failed = call, note, failed

    def __aiter__(self) -> Watched:
        return self

    async def __anext__(self) -> Any:
        try:
            event = await self._call.read()
        except grpc.aio.AioRpcError as error:
            self._failed(error)
            raise
        if event is grpc.aio.EOF:
            raise StopAsyncIteration
        self._note(event.SerializeToString())
        return event

    def cancel(self) -> bool:
        return bool(self._call.cancel())


async def _run(consortium: Consortium, recording: Recording, ahead: bool, more: Mapping[str, object]) -> None:
    name, members, tls = consortium.coordinator.load()
    assert name == "coordinator"
    nodes, clients = [], {}
    store = CoordinatorStore(consortium.coordinator.state_db)
    try:
        for number, party in enumerate(consortium.world.parties):
            def passed(event: Passed, party: str = party) -> None:
                if event.direction == "received":
                    where = event.channel, event.index
                    recording.messages.append(Sent(event.peer, party, *where, event.message))
                    recording.sizes.append((event.peer, party, *where, event.kind, event.size))

            def tools(spec: JobSpec, number: int = number) -> Tools:
                return fixed_keys(number, spec)

            node = Node(consortium.directory(party), tools=tools, record=passed)
            nodes.append(node)
            await node.start()
            node._hub._limits = Limits(dead_s=120.0)   # all nodes share one busy thread
        for member in members.party:
            clients[member.id] = RecordedClient(member, Gatekeeper(members, tls), tls, recording)
        plan = JobPlan.model_validate(job(consortium.world.parties) | dict(more))

        async def launch(spec: JobSpec) -> str:
            record = await driver.launch(spec, clients, store, recording.events.append, lambda text: None, 5.0)
            return str(record["job_id"])

        spec, _ = await driver.prepare(plan, clients)
        if ahead:
            prepared = await launch(first_half(spec))
            spec = second_half((await driver.prepare(plan, clients))[0], prepared)
        await launch(spec)
    finally:
        for client in clients.values():
            await client.close()
        for node in nodes:
            with contextlib.suppress(AttributeError):   # one that did not get as far as listening
                await node.stop()
        store.close()


def record(
    home: Path, world: World, *, ahead: bool = False, more: Mapping[str, object] = MappingProxyType({})
) -> Recording:
    """A whole job, from proposal to public record; `ahead`: in two halves; `more` entries of job.toml. A failure of the
    job is kept in `error`."""
    consortium = make(home, world)
    recording = Recording(world.parties, LABEL_HOLDER)
    configure(home / "all.log")
    try:
        with observing(recording):
            asyncio.run(_run(consortium, recording, ahead, more))
    except Exception as error:
        recording.error = error
    finally:
        structlog.reset_defaults()
    for path in sorted(home.rglob("*")):
        private = path.suffix == ".csv" or {"models", "keys", "tls"} & set(path.parts)
        if path.is_file() and not private:
            recording.left_behind[str(path.relative_to(home))] = path.read_bytes()
    return recording
