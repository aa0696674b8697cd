"""The node's jobs: proposals, starts, the run through all stages, and an end that leaves no doubt.

A job runs once, in one asyncio task. Whatever ends it, the store, the audit log, the peers and the watchers read the
same state and the same public sentence, and nothing half-written is left.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from mpc.domains import Domain
from mpc.errors import LocalError, PeerError, Reason
from mpc.link import Link, PartyId
from mpc.protocol import Ledger
from mpc.protocols import PROTOCOLS, finish
from mpc.protocols.train import Tools
from mpc.ring import U64
from mpc.rng import Rng
from mpc.sets import oprf
from party_node.config import PartyDirectory
from party_node.consent import datasets, registration
from party_node.consent.gate import Agreed, AlreadyRunning, Answer, Consent
from party_node.consent.training_sets import TrainingSets
from party_node.jobs.events import Feed, FeedState
from party_node.jobs.noise import noise_stream
from party_node.jobs.public_part import public_part
from party_node.jobs.rehearsal import Rehearsed, rehearse
from party_node.jobs.runtime import NodeParty
from party_node.jobs.stages import stages as stages_of
from party_node.jobs.stages.context import JobContext
from party_node.jobs.workers import Workers
from party_node.models.kept_rows import drop_unsettled, settle_rows, write_rows
from party_node.models.part import PART, PASSING, settle, write_part
from party_node.records import precomputed_files
from party_node.records.audit import AuditLog, SignedHead, countersign, countersigned
from party_node.records.node_secret import NodeSecret
from party_node.records.store import HeadRow, JobState, Store
from party_node.table_errors import DataError
from wire.awaited import Crew, in_thread
from wire.description import DatasetDescription
from wire.errors import (
    Cancelled,
    PeerStopped,
    PublicError,
    RemoteFailure,
    Unreachable,
    exit_code,
    printable,
    to_public,
)
from wire.peer_hub import PeerHub
from wire.private_files import write_private
from wire.signing import Identity
from wire.spec.job import JobSpec, decode_spec, job_id

KEPT_JOBS = 64       # ended jobs whose events can still be read
UNWATCHED_S = 20.0   # a job whose coordinator has not been watching for so long is stopped
ENDED_BY_OTHERS = frozenset({"peer-gone", "peer-silent", "unreachable", "cancelled"})
ToolsFor = Callable[[JobSpec], Tools]
_log = structlog.get_logger("jobs")


@dataclass
class Running:
    """One job in this process."""

    feed: Feed
    agreed: Agreed
    coordinator: str
    task: asyncio.Task[None] | None = None
    begun: bool = False              # a task that is cancelled before its first step would tell nobody that it ended
    stop: BaseException | None = None
    ending: bool = False             # the run is over and its end is being told: nothing interrupts that
    seconds: dict[str, float] = field(default_factory=dict)
    heads: list[HeadRow] = field(default_factory=list)   # of the peers' audit logs, known when the job began


class Jobs:
    """What the control service calls."""

    def __init__(
        self,
        directory: PartyDirectory,
        party: str,
        identity: Identity,
        store: Store,
        audit: AuditLog,
        consent: Consent,
        hub: PeerHub,
        pool: Workers,
        make_tools: ToolsFor,
    ) -> None:
        self.party, self.identity_hex = party, identity.public_hex
        self._directory, self._identity, self._store, self._audit = directory, identity, store, audit
        self._consent, self._hub, self._pool, self._make_tools = consent, hub, pool, make_tools
        self._running: dict[str, Running] = {}
        self._rehearsing = self._rehearsed = self._closing = False
        self._crew = Crew()

    # ------------------------------------------------------------------ what a coordinator asks

    def describe(self, coordinator: str) -> list[DatasetDescription]:
        """The datasets that `coordinator` may know of."""
        return datasets.describe(datasets.registered(self._store), coordinator)

    async def rehearse(self, spec: bytes, coordinator: str) -> Rehearsed:
        """How long our part of such a job would take. LocalError while anything else computes here."""
        # A rehearsal that was given up is over when its last step is: askings must not pile up.
        left_over = self._rehearsing or (self._rehearsed and self._pool.busy)
        if left_over or any(not running.feed.over for running in self._running.values()):
            raise LocalError(f"{self.party} is computing something else", "plan later, or with --no-rehearsal")
        self._rehearsing = self._rehearsed = True
        try:
            agreed = decode_spec(spec)
            _log.info("rehearsing", coordinator=coordinator)
            return await rehearse(agreed, self.party, self._make_tools(agreed), self._pool)
        finally:
            self._rehearsing = False

    def propose(self, spec: bytes, coordinator: str) -> Answer:
        """Our policy's answer."""
        return self._consent.propose(spec, coordinator)

    def start(self, spec: bytes, approvals: Mapping[str, bytes], coordinator: str) -> str:
        """Begin a job that all have signed; a repeated start of a running job changes nothing."""
        if self._closing:
            raise Cancelled(f"{self.party} is shutting down", whose=self.party)
        precomputed_files.sweep(self._directory.prepared, self._store)      # while nothing is debited yet
        try:
            agreed = self._consent.verify_start(spec, approvals, coordinator)
        except AlreadyRunning:
            return job_id(spec)
        running = Running(Feed(), agreed, coordinator)
        self._forget_oldest()
        self._running[agreed.job] = running
        if agreed.spec.align.engine == "oprf":
            self._pool.warm(oprf.warm)     # while the largest table is read, here or elsewhere
        running.task = self._crew.start(self._supervise(running), name=f"job-{agreed.job[:12]}")
        return agreed.job

    def _forget_oldest(self) -> None:
        """Keep the events of the last jobs only; those that run stay."""
        over = [job for job, running in self._running.items() if running.feed.over]
        for job in over[: max(0, len(over) - KEPT_JOBS + 1)]:
            del self._running[job]

    def feed(self, job: str, coordinator: str) -> Feed:
        """The events of a job of this process, for who started it; LocalError if there is none."""
        running = self._running.get(job)
        if running is None or running.coordinator != coordinator:
            raise LocalError(f"{self.party} is not running a job {printable(job[:12])}",
                             "it may have ended: party-node jobs")
        return running.feed

    def cancel(self, job: str, coordinator: str, reason: str) -> bool:
        """Stop a job cleanly; False if it was not running."""
        running = self._running.get(job)
        if running is None or running.feed.over or running.coordinator != coordinator:
            self._consent.cancel(job, coordinator, printable(reason))
            return False
        self._stop(running, Cancelled(f"{coordinator} cancelled the job: {printable(reason)}", whose=coordinator))
        return True

    async def close(self) -> None:
        """SIGTERM: stop every job by name and wait for their ends; none begins any more."""
        self._closing = True
        for running in self._running.values():
            self._stop(running, Cancelled(f"{self.party} is shutting down", whose=self.party))
        await self._crew.ended()

    # ------------------------------------------------------------------ the run

    @staticmethod
    def _stop(running: Running, why: BaseException) -> None:
        if running.stop is None and not running.ending and running.task is not None and not running.task.done():
            running.stop = why
            if running.begun:
                running.task.cancel()

    async def _supervise(self, running: Running) -> None:
        """Run one job to its end; every failure becomes one public sentence, everywhere the same."""
        job = running.agreed.job
        guard = self._crew.start(self._guard(running))
        running.begun = True
        try:
            if running.stop is not None:
                raise running.stop
            record = await self._run(running)
            running.ending = True
            self._consent.finish(job, JobState.DONE)
        except BaseException as error:  # a process edge: full log here, public sentence to the others
            cause = running.stop if isinstance(error, asyncio.CancelledError) and running.stop else error
            running.ending = True
            await self._fail(running, cause)
        else:
            try:
                await self._hub.close(job, None)
            finally:
                running.feed.end(FeedState.FINISHED, record=record)
        finally:
            guard.cancel()

    async def _fail(self, running: Running, error: BaseException) -> None:
        job = running.agreed.job
        public = await self._told(running, error)
        if public.code == "bug" and not isinstance(error, PeerStopped):
            _log.error("job failed unexpectedly", job=job, exc_info=error)
        _log.warning("job ended", job=job, code=public.code, reason=public.reason, exit_code=exit_code(error))
        shutil.rmtree(self._directory.models / f"{job}{PASSING}", ignore_errors=True)
        drop_unsettled(self._directory.alignments, job)
        precomputed_files.drop_unsettled(self._directory.prepared, job)
        cancelled = public.code == "cancelled"
        text = error.what if isinstance(error, DataError) else public.what   # our own operator reads the figures
        try:
            await self._hub.close(job, RemoteFailure(public))
        finally:
            state = JobState.CANCELLED if cancelled else JobState.FAILED
            try:
                self._consent.finish(job, state, public.reason or public.code, text)
            except Exception as unrecorded:  # a full disk: the store says so at the next start, the watchers now
                _log.error("the end of a job cannot be recorded", job=job, exc_info=unrecorded)
            finally:
                running.feed.end(FeedState.CANCELLED if cancelled else FeedState.FAILED, public)

    async def _told(self, running: Running, error: BaseException) -> PublicError:
        """The public sentence; where others ended the run, with how far it had come and why they are gone."""
        public = to_public(error, self.party)
        if isinstance(error, DataError):
            what, advice = error.for_others(self.party)
            return replace(public, what=what, advice=advice)
        if isinstance(error, PeerStopped) or public.code not in ENDED_BY_OTHERS:
            return public
        what, advice = public.what, public.advice
        if isinstance(error, PeerError) and error.reason is Reason.GONE:
            why = to_public(await self._hub.why_gone(PartyId(error.culprit)), self.party)
            what, advice = f"{what}; {why.what}", why.advice
        return replace(public, what=f"{what}; stopped at {running.feed.place}", advice=advice)

    async def _guard(self, running: Running) -> None:
        """Stop the job when its coordinator is gone."""
        while True:
            await asyncio.sleep(1.0)
            feed = running.feed
            if not feed.watched and time.monotonic() - feed.unwatched_since > UNWATCHED_S:
                self._stop(running, Unreachable(
                    "the coordinator stopped watching the job, its process is down or cannot be reached",
                    whose="coordinator", advice="launch a new job",
                ))

    async def _run(self, running: Running) -> bytes:
        agreed, feed = running.agreed, running.feed
        spec, job = agreed.spec, agreed.job
        await asyncio.to_thread(registration.check_unchanged, agreed.dataset)
        others = [PartyId(party.id) for party in spec.parties if party.id != self.party]
        running.heads = self._store.heads(ours=False)
        feed.stage("connect")
        links = await self._hub.open(job, others, agreed.approvals_digest)
        lines = {line.code: line for protocol in PROTOCOLS.values() for line in protocol.ledger}
        ledger = Ledger({code: lines[code] for code in spec.reveal if code in lines})
        me = NodeParty(self.party, Rng.from_system(), ledger, self._pool, feed.progress,
                       lambda what, index: self._store.burn(job, what, [index]))
        context = JobContext(
            job=job, spec=spec, me=me, links=links, table_path=Path(agreed.dataset.path),
            kinds=agreed.dataset.kinds_for_reading(), tools=self._make_tools(spec),
            accept_count=lambda count: self._consent.check_count(agreed, count),
            settles=lambda lower: self._consent.settles(agreed, lower),
            mark=self.training_sets.marks,
            accept_sets=lambda marks, test: self._accept_sets(agreed, marks, test),
            accept_widths=lambda widths: self._consent.charge_widths(agreed, widths),
            accept_scores=lambda: self._consent.charge_scores(agreed),
            dither_key=self._dither_key,
            pin=lambda what, digest: self._store.pin(spec.prepared or job, what, digest),
            label_holder_columns=agreed.dataset.policy.label_holder_columns, prepared=self._directory.prepared,
            burn_prepared=lambda: self._burn_prepared(agreed),
            noise=lambda rows: noise_stream(NodeSecret.at(self._directory.secret), spec, rows),
        )
        for name, stage in stages_of(spec):
            self._store.set_stage(job, name)
            feed.stage(name)
            began = time.monotonic()
            await stage(context)
            running.seconds[name] = round(time.monotonic() - began, 3)
            self._audit.flush(job)
        self._store.set_stage(job, "finish")
        feed.stage("finish")
        return await self._finish(running, context, links)

    @cached_property
    def training_sets(self) -> TrainingSets:
        """One for all jobs, of which none may come between another's look and note."""
        key = NodeSecret.at(self._directory.secret).key(Domain.TRAINING_SETS)
        return TrainingSets(self._directory.training_sets, key)

    def _accept_sets(self, agreed: Agreed, marks: U64, test: NDArray[np.bool_]) -> None:
        near = self.training_sets.accept(agreed.job, marks, test, agreed.dataset.policy.minimum_difference)
        if near is not None:
            raise self._consent.too_near(agreed, near)

    def _dither_key(self, what: Sequence[bytes]) -> bytes:
        """Of the node and the columns alone, so that the same customers are rounded alike whatever table they stand in
        and whatever a dataset is called."""
        return NodeSecret.at(self._directory.secret).key(Domain.SCORE_DITHER, *what)

    def _burn_prepared(self, agreed: Agreed) -> None:
        assert agreed.spec.prepared is not None
        self._audit.event("prepared", agreed.job, of=agreed.spec.prepared)
        precomputed_files.burn(self._store, agreed.spec.prepared)

    async def _finish(self, running: Running, context: JobContext, links: Mapping[PartyId, Link]) -> bytes:
        """Keep the own part when all have theirs, with the peers' signatures on our audit log."""
        job, spec = context.job, context.spec
        part = public_part(context, running.seconds)
        keep_result = await in_thread(lambda: self._written(context))
        ours = self._audit.signed_head(self._identity, job)
        mine = finish.AuditHead(ours.count, bytes.fromhex(ours.hash), ours.signature)

        def sign(peer: PartyId, head: finish.AuditHead) -> bytes:
            theirs = SignedHead(peer, job, head.count, head.head.hex(), head.signature)
            earlier = heads_to_compare(self._store.heads(ours=False), running.heads, head.count)
            signature, row = countersign(self._identity, theirs, spec.party(peer).identity, earlier)
            self._store.keep_head(row)
            return signature

        def keep(peer: PartyId, signature: bytes) -> None:
            self._store.keep_head(countersigned(ours, peer, spec.party(peer).identity, signature))

        await finish.close(context.me, context.peers("finish"), mine, sign, keep)
        record = part.model_copy(update={"audit_head": ours.hash, "bytes": self._traffic(job)})
        data = record.model_dump_json().encode()
        keep_result(data)
        return data

    def _written(self, context: JobContext) -> Callable[[bytes], None]:
        """Write the own result under a passing name; what is returned keeps it, with the public part."""
        if context.spec.goal == "alignment":
            rows = write_rows(self._directory.alignments, context.job, context.rows, context.my_part.dataset_digest)
            return lambda data: settle_rows(rows)
        if context.spec.goal == "precompute":
            path = self._directory.prepared / f"{context.job}{precomputed_files.PASSING}"
            return lambda data: precomputed_files.settle(path)
        folder, digest = write_part(self._directory.models, context.trained())

        def keep_model(data: bytes) -> None:
            write_private(folder / PART, data)
            settled = settle(folder)
            try:
                self._store.add_model(context.job, settled.name, digest)
            except BaseException:
                shutil.rmtree(settled)
                raise

        return keep_model

    def _traffic(self, job: str) -> dict[str, dict[str, int]]:
        """Bytes per stage and peer."""
        found: dict[str, dict[str, int]] = {}
        for peer, stages in self._hub.bytes(job).items():
            for stage, traffic in stages.items():
                ends = found.setdefault(stage, {})
                ends[f"{peer}/sent"], ends[f"{peer}/received"] = traffic.sent, traffic.received
        return found


def heads_to_compare(kept: Sequence[HeadRow], at_start: Sequence[HeadRow], count: int) -> list[HeadRow]:
    """The peers' heads that a new one of `count` lines must not contradict.

    Jobs may end in another order than their heads were signed: a log shorter than what was known when this job
    began was cut off, one shorter than what came since need not be. Equal lengths are always compared.
    """
    return [*at_start, *(row for row in kept if row.count == count)]
