"""What a node hands to the coordinator of a job that ended well, as far as the spec's `release` allows."""

from __future__ import annotations

from collections.abc import Mapping

from mpc.kernels.engines.selection import engine_name
from mpc.protocol import LedgerLine
from party_node.jobs.stages.context import JobContext
from wire.record import LedgerEntry, PartyPart


def public_part(context: JobContext, seconds: Mapping[str, float]) -> PartyPart:
    """`seconds`: per stage. Heads of audit logs and bytes come when the job closes."""
    assert context.counts is not None
    release, ledger = set(context.spec.release), context.me.ledger
    test = context.test
    return PartyPart(
        party=context.me.id,
        rows=context.counts.to_json() if "row_counts" in release else {},
        common=context.common,
        train_rows=int((~test).sum()) if test is not None else 0,
        test_rows=int(context.judged.sum()) if test is not None else 0,
        seconds=dict(seconds) if "timings" in release else {},
        ledger=[_entry(ledger.allowed[code], count) for code, count in sorted(ledger.opened.items())],
        evaluation=context.evaluation,
        correlations=context.correlations if "correlations" in release else None,
        engine=engine_name(),
    )


def _entry(line: LedgerLine, count: int) -> LedgerEntry:
    return LedgerEntry(code=line.code, kind=line.kind, to=line.to, what=line.what, count=count)
