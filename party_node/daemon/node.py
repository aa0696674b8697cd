"""The node's process: checks everything before it listens, serves until it is told to stop, stops cleanly."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import grpc.aio
import structlog

from mpc.correlated_randomness.kinds import CorrelationSource, TrigPlan
from mpc.correlated_randomness.paillier_source import PaillierSource
from mpc.correlated_randomness.two_way import TwoWaySource
from mpc.errors import LocalError
from mpc.group import ristretto255
from mpc.link import Link, PartyId
from mpc.paillier.keys import generate
from mpc.protocol import Party
from mpc.protocols import PROTOCOLS
from mpc.protocols.align_terms import FEW_IDS
from mpc.protocols.train import Tools
from mpc.sets import oprf
from party_node.config import PartyDirectory
from party_node.consent import datasets
from party_node.consent.gate import Consent
from party_node.daemon.control_service import add_control
from party_node.daemon.crowd import Tidying, share_memory, use_all_descriptors
from party_node.jobs.runner import Jobs, ToolsFor
from party_node.jobs.runtime import make_pool
from party_node.models.kept_rows import drop_unsettled
from party_node.models.part import drop_unfinished
from party_node.records import precomputed_files
from party_node.records.audit import AuditLog, verify_log
from party_node.records.node_secret import NodeSecret
from party_node.records.store import JobState, Store
from wire.certificates import check, load
from wire.consortium import Consortium, load_consortium
from wire.grpc_link import Passed, Record
from wire.peer_hub import PeerHub
from wire.private_files import write_private
from wire.server import serve as listen
from wire.signing import Identity
from wire.spec.job import JobSpec
from wire.telemetry import configure

_log = structlog.get_logger("daemon")


def real_tools(spec: JobSpec) -> Tools:
    """Keys from the system's randomness and the correlations that the spec names."""
    make_key = partial(generate, engine="phe" if spec.crypto.engine == "phe" else "auto")

    async def make_source(me: Party, peers: Mapping[PartyId, Link], plan: TrigPlan) -> CorrelationSource:
        if spec.crypto.correlations == "ot":
            return await TwoWaySource.start(me, peers, plan)
        key = await me.compute(make_key, me.rng.child("correlations"), spec.crypto.key_bits)
        return await PaillierSource.start(me, peers, plan, key)

    return Tools(make_key=make_key, make_source=make_source)


class Node:
    """Everything of one institution's running process. Tests make it in process and may inject tools and a record."""

    def __init__(
        self, directory: PartyDirectory, *, tools: ToolsFor = real_tools, record: Record | None = None
    ) -> None:
        directory.check_permissions()
        self._config = directory.load_config()
        self._directory, self._tools, self._record = directory, tools, record
        self.party = self._config.party
        self._consortium: Consortium = load_consortium(directory.consortium_file(self._config))
        self._tls = load(directory.tls, self.party)
        self._identity = Identity.from_pem(directory.identity_key.read_bytes())
        NodeSecret.at(directory.secret)      # made at the first start; a damaged one is told before any job
        self._check_member()

    def _check_member(self) -> None:
        """Refuse to start half-configured."""
        entry = self._consortium.member(self.party)
        if entry.identity != self._identity.public_hex:
            raise LocalError("the consortium file holds another identity key for this party",
                             "send your fingerprints again and join the corrected file")
        check(self._tls.certificate_pem, self.party, entry.ca_pem)

    async def start(self) -> tuple[int, int]:
        """Listen; returns the ports of the node and of its doctor."""
        self._store = Store(self._directory.state_db)
        self._store.claim(self._directory.lock_file)
        registered = {model.job for model in self._store.models()}
        drop_unfinished(self._directory.models,
                        (row.id for row in self._store.jobs(JobState.FAILED) if row.id not in registered))
        drop_unsettled(self._directory.alignments)
        precomputed_files.drop_unsettled(self._directory.prepared)
        precomputed_files.sweep(self._directory.prepared, self._store)
        self._audit = AuditLog(self._directory.audit_log, self.party)   # takes a crash's half line off
        verify_log(self._directory.audit_log, self.party, self._store.heads(ours=True))
        self._hub = PeerHub(self._consortium, self._tls, self._identity, record=self._passed)
        self._pool = make_pool(self._config.compute)
        identities = {member.id: member.identity for member in self._consortium.party}
        consent = Consent(self.party, self._identity, self._store, self._audit, identities, PROTOCOLS)
        self.jobs = Jobs(self._directory, self.party, self._identity, self._store, self._audit, consent, self._hub,
                         self._pool, self._tools)
        await asyncio.to_thread(self.jobs.training_sets.check)

        def register(server: grpc.aio.Server) -> None:
            add_control(self.jobs, server)
            self._hub.register(server)

        self._listeners = await listen(
            self._consortium, self._tls, self._config.listen, self._config.doctor, register
        )
        largest = max((dataset.rows for dataset in datasets.registered(self._store)), default=0)
        if largest >= FEW_IDS:             # what will align it is compiled while nobody waits for it
            self._pool.warm(oprf.warm)
        if largest >= ristretto255.MANY_POINTS:
            self._pool.warm(ristretto255.warm)
        self._tidying = Tidying()
        self._audit.event("start", party=self.party)
        _log.info("listening", party=self.party, port=self._listeners.port)
        return self._listeners.port, self._listeners.doctor_port

    def _passed(self, passed: Passed) -> None:
        """Every message into the audit log, before it leaves or after it came: kind, size, digest."""
        stage = passed.channel.strip("/").split("/")[0] or "main"
        self._audit.message(passed.job, stage, passed.peer, passed.direction, passed.kind, passed.size,
                            bytes.fromhex(passed.digest))
        if self._record is not None:
            self._record(passed)

    async def stop(self) -> None:
        """End every job by name, tell the peers, close the books."""
        await self.jobs.close()
        await self._hub.stop()
        await self._listeners.stop()
        self._tidying.end()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._audit.event("stop", party=self.party)
        self._audit.close()
        self._store.close()


async def serve(directory: PartyDirectory, ready_file: Path | None) -> None:
    """Run one node until SIGTERM or SIGINT. `ready_file` gets the ports as JSON once it listens."""
    configure(directory.log_file)
    use_all_descriptors()
    share_memory()
    node = Node(directory)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    set_stopping: Callable[[], None] = stopping.set
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, set_stopping)
    port, doctor = await node.start()
    if ready_file is not None:
        write_private(ready_file, json.dumps({"party": node.party, "port": port, "doctor": doctor}).encode())
    try:
        await stopping.wait()
    finally:
        await node.stop()
