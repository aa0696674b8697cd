"""One table, complete both ways; nothing private crosses it."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from mpc import errors as mpc_errors
from mpc.errors import LocalError, MpcError, PeerError, Reason, Refused
from wire import errors
from wire.errors import (
    DETAILS_KEY,
    ROWS,
    STATUS_ALONE,
    TABLE,
    ApprovalError,
    PeerStopped,
    PublicError,
    RemoteFailure,
    SpecError,
    exit_code,
    from_rpc,
    from_wire,
    row_of,
    to_public,
    to_wire,
)
from wire.v1 import common_pb2

CASES = {
    "unreachable": (errors.Unreachable("nobody there", whose="bank-b", advice="start it"), 2),
    "unauthenticated": (errors.Unauthenticated("expired", whose="bank-b", reason="certificate-expired"), 2),
    "forbidden": (errors.Forbidden("not yours"), 2),
    "denied": (errors.Denied("column not offered", reason="columns"), 6),
    "too-many-calls": (errors.TooManyCalls("enough of these"), 2),
    "overdue": (errors.Overdue("too slow"), 3),
    "cancelled": (errors.Cancelled("by the coordinator"), 1),
    "peer-gone": (PeerError("bank-b", "train#4", Reason.GONE), 1),
    "peer-silent": (PeerError("bank-b", "train#4", Reason.TIMEOUT), 3),
    "peer-stopped": (PeerError("bank-b", "train#4", Reason.STOPPED), 1),
    "too-few-common": (PeerError("bank-b", "align#4", Reason.TOO_FEW_COMMON), 6),
    "peer-broke-protocol": (PeerError("bank-b", "train#4", Reason.GAP), 1),
    "refused": (Refused("not-converged", "the fit has not converged", "more iterations"), 1),
    "approvals": (ApprovalError("the approval of bank-b is missing"), 6),
    "wrong-spec": (SpecError("job spec field training.penalty: too small"), 4),
    "wrong-input": (LocalError("no such column", "did you mean dpd90_12m?"), 4),
    "bug": (ZeroDivisionError("CANARY-4711"), 5),
}


@pytest.mark.parametrize("code", CASES)
def test_each_exception_has_its_code_exit_code_and_face(code):
    error, exits = CASES[code]
    assert row_of(error).code == code
    assert exit_code(error) == exits
    public = to_public(error, "bank-a")
    assert public.code == code
    assert public.what
    assert "CANARY" not in str(public)


def test_every_row_of_the_table_has_a_case():
    assert set(CASES) == set(ROWS)
    assert len(ROWS) == len(TABLE)


def test_every_failure_class_of_ours_has_a_row_of_its_own():
    roots = (MpcError,)
    ours = {
        kind for module in (mpc_errors, errors) for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, roots)
    } - {MpcError, errors.WireError, RemoteFailure, PeerStopped}
    assert ours <= {row.kind for row in TABLE}


def test_every_status_of_grpc_means_something():
    assert set(STATUS_ALONE) == set(StatusCode) - {StatusCode.OK}
    assert {code for code, _ in STATUS_ALONE.values()} <= set(ROWS)


@pytest.mark.parametrize("code", CASES)
def test_a_failure_crosses_the_wire_and_comes_out_the_same(code):
    public = to_public(CASES[code][0], "bank-a")
    details = to_wire(public).SerializeToString()
    rpc = AioRpcError(ROWS[code].status, Metadata(), Metadata((DETAILS_KEY, details)), "text")
    failure = from_rpc(rpc, "bank-a")
    assert failure.public == public
    assert exit_code(failure) == CASES[code][1]
    assert to_public(failure, "coordinator") == public


def test_details_that_are_no_error_are_ignored():
    rpc = AioRpcError(StatusCode.UNAVAILABLE, Metadata(), Metadata((DETAILS_KEY, b"\xff\xff")), "text")
    assert from_rpc(rpc, "bank-b").public == PublicError("unreachable", "bank-b: nobody answers there", "bank-b")


def test_foreign_text_cannot_write_to_a_terminal_or_fill_a_log():
    hostile = common_pb2.Error(code="no-such-code", what="\x1b[2J" + "x" * 10_000, advice="a\nb\x00")
    public = from_wire(hostile)
    assert public.code == "bug"
    assert len(public.what) == errors.MAX_TEXT
    assert (public.what + public.advice).isprintable()


def test_a_peer_that_stopped_passes_its_reason_and_exit_code_on():
    public = to_public(Refused("not-converged", "the fit has not converged", "more iterations"), "bank-b")
    stopped = PeerStopped("bank-b", "train#9", public)
    assert to_public(stopped, "bank-a") == public
    assert exit_code(stopped) == 1
    assert exit_code(PeerStopped("bank-b", "s", to_public(errors.Denied("no"), "bank-b"))) == 6


def test_a_cancelled_task_is_cancelled_and_no_bug():
    assert to_public(asyncio.CancelledError(), "bank-a").code == "cancelled"


def test_error_and_schema_have_the_same_fields():
    assert set(common_pb2.Error.DESCRIPTOR.fields_by_name) == set(PublicError.__dataclass_fields__)
