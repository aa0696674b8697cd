"""How failures cross the border: ONE table of exceptions, codes, gRPC statuses and exit codes, both ways.

A peer reads the public sentence; the full text stays in the local log. Knows no protocol and no job.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import cast

from google.protobuf.message import DecodeError
from grpc import StatusCode
from grpc.aio import AioRpcError

from mpc.errors import LocalError, MpcError, PeerError, Reason, Refused
from wire.signing import ApprovalError
from wire.spec.job import SpecError
from wire.v1 import common_pb2

DETAILS_KEY = "wire-error-bin"
MAX_TEXT = 600
OK, JOB_FAILED, NOT_REACHED, TIMED_OUT, WRONG_INPUT, OUR_BUG, POLICY = range(7)   # exit codes, experience.md


@dataclass(frozen=True)
class PublicError:
    """What one side tells another: code, what, whose side, how to mend it. Names no private value."""

    code: str
    what: str
    whose: str = ""
    advice: str = ""
    culprit: str = ""
    reason: str = ""
    step: str = ""

    def __str__(self) -> str:
        return f"{self.what}. {self.advice}".rstrip(". ") + "."


class WireError(MpcError):
    """Root of the failures of this package. `whose` is the side on which the fault lies."""

    def __init__(self, what: str, *, whose: str = "", advice: str = "", reason: str = "") -> None:
        super().__init__(f"{what}. {advice}".rstrip() if advice else what)
        self.what, self.whose, self.advice, self.reason = what, whose, advice, reason


class Unreachable(WireError):
    """Nobody answers there, or the connection was lost."""


class Unauthenticated(WireError):
    """A certificate was refused; `reason` names the fault."""


class Forbidden(WireError):
    """Who asks is known and has no right to this call."""


class Denied(WireError):
    """A rule of the local policy says no; `reason` is the line of the policy."""


class TooManyCalls(WireError):
    """The caller has as many calls of this kind under way as one caller may have."""


class Overdue(WireError):
    """No answer in time."""


class Cancelled(WireError):
    """Somebody who may do so stopped the job."""


class PeerStopped(PeerError):
    """The other side closed the job; `public` is what it says went wrong there, if anything did."""

    def __init__(self, peer: str, step: str, public: PublicError | None) -> None:
        super().__init__(peer, step, Reason.STOPPED)
        self.public = public
        if public is not None:
            self.args = (f"{peer} stopped the job: {public}",)


class RemoteFailure(MpcError):
    """What another daemon answered instead of a result."""

    def __init__(self, public: PublicError) -> None:
        super().__init__(f"{public.whose}: {public}" if public.whose else str(public))
        self.public = public


@dataclass(frozen=True)
class Row:
    """One line of the table. `reasons`: only for a failure with one of these."""

    code: str
    kind: type[Exception]
    status: StatusCode
    exit_code: int
    reasons: frozenset[Reason] = frozenset()


_TOO_FEW = frozenset({Reason.TOO_FEW_COMMON})
# The first row that fits wins, so a subclass stands above its base.
TABLE: tuple[Row, ...] = (
    Row("unreachable", Unreachable, StatusCode.UNAVAILABLE, NOT_REACHED),
    Row("unauthenticated", Unauthenticated, StatusCode.UNAUTHENTICATED, NOT_REACHED),
    Row("forbidden", Forbidden, StatusCode.PERMISSION_DENIED, NOT_REACHED),
    Row("denied", Denied, StatusCode.FAILED_PRECONDITION, POLICY),
    Row("too-many-calls", TooManyCalls, StatusCode.RESOURCE_EXHAUSTED, NOT_REACHED),
    Row("overdue", Overdue, StatusCode.DEADLINE_EXCEEDED, TIMED_OUT),
    Row("cancelled", Cancelled, StatusCode.CANCELLED, JOB_FAILED),
    Row("peer-gone", PeerError, StatusCode.UNAVAILABLE, JOB_FAILED, frozenset({Reason.GONE})),
    Row("peer-silent", PeerError, StatusCode.DEADLINE_EXCEEDED, TIMED_OUT, frozenset({Reason.TIMEOUT})),
    Row("peer-stopped", PeerError, StatusCode.ABORTED, JOB_FAILED, frozenset({Reason.STOPPED})),
    Row("too-few-common", MpcError, StatusCode.FAILED_PRECONDITION, POLICY, _TOO_FEW),
    Row("peer-broke-protocol", PeerError, StatusCode.ABORTED, JOB_FAILED),
    Row("refused", Refused, StatusCode.FAILED_PRECONDITION, JOB_FAILED),
    Row("approvals", ApprovalError, StatusCode.FAILED_PRECONDITION, POLICY),
    Row("wrong-spec", SpecError, StatusCode.INVALID_ARGUMENT, WRONG_INPUT),
    Row("wrong-input", LocalError, StatusCode.INVALID_ARGUMENT, WRONG_INPUT),
    Row("bug", Exception, StatusCode.INTERNAL, OUR_BUG),
)
ROWS: Mapping[str, Row] = {row.code: row for row in TABLE}

# What a status means that came without details (from gRPC itself, or from a proxy).
STATUS_ALONE: Mapping[StatusCode, tuple[str, str]] = {
    StatusCode.CANCELLED: ("cancelled", "the call was cancelled"),
    StatusCode.UNKNOWN: ("bug", "the other side failed without saying how"),
    StatusCode.INVALID_ARGUMENT: ("wrong-input", "the request was not understood"),
    StatusCode.DEADLINE_EXCEEDED: ("overdue", "no answer in time"),
    StatusCode.NOT_FOUND: ("wrong-input", "there is no such thing on the other side"),
    StatusCode.ALREADY_EXISTS: ("wrong-input", "it exists already on the other side"),
    StatusCode.PERMISSION_DENIED: ("forbidden", "the other side does not allow this call"),
    StatusCode.RESOURCE_EXHAUSTED: ("wrong-input", "too large a message for the other side, or too many calls"),
    StatusCode.FAILED_PRECONDITION: ("refused", "the other side refused"),
    StatusCode.ABORTED: ("peer-stopped", "the other side stopped"),
    StatusCode.OUT_OF_RANGE: ("wrong-input", "a value lies outside its range"),
    StatusCode.UNIMPLEMENTED: ("forbidden", "the other side has no such call: compare the versions"),
    StatusCode.INTERNAL: ("bug", "the other side failed without saying how"),
    StatusCode.UNAVAILABLE: ("unreachable", "nobody answers there"),
    StatusCode.DATA_LOSS: ("bug", "data were lost on the way"),
    StatusCode.UNAUTHENTICATED: ("unauthenticated", "the other side does not know us"),
}


def row_of(error: BaseException) -> Row:
    """The line of the table for `error`."""
    if isinstance(error, RemoteFailure):
        return ROWS[error.public.code]
    if isinstance(error, CancelledError):
        return ROWS["cancelled"]
    reason = Reason.__members__.get(error.code) if isinstance(error, Refused) else getattr(error, "reason", None)
    for row in TABLE:
        if isinstance(error, row.kind) and (not row.reasons or reason in row.reasons):
            return row
    return ROWS["bug"]


def exit_code(error: BaseException) -> int:
    """What a command ends with; a peer that stopped for a reason of its own passes that reason on."""
    if isinstance(error, PeerStopped) and error.public is not None:
        return ROWS[error.public.code].exit_code
    return row_of(error).exit_code


def to_public(error: BaseException, whose: str) -> PublicError:
    """The public face of `error`, which happened at party `whose`. A bug's text is not for others."""
    code = row_of(error).code
    if isinstance(error, RemoteFailure):
        return error.public
    if isinstance(error, PeerStopped) and error.public is not None:
        return error.public
    if isinstance(error, PeerError):
        what = f"{error.culprit}: {error.reason.value}"
        return PublicError(code, what, error.culprit, "", error.culprit, error.reason.name, error.step)
    if isinstance(error, WireError):
        return PublicError(code, error.what, error.whose or whose, error.advice, reason=error.reason)
    if isinstance(error, Refused):
        return PublicError(code, error.what, whose, error.advice, reason=error.code)
    if isinstance(error, LocalError):
        return PublicError(code, error.what, error.whose or whose, error.advice)
    if isinstance(error, SpecError | ApprovalError):
        return PublicError(code, str(error), whose)
    if isinstance(error, CancelledError):
        return PublicError(code, f"stopped at {whose}", whose)
    return PublicError("bug", f"an unexpected failure at {whose}", whose, f"see the log of {whose}")


def to_wire(public: PublicError) -> common_pb2.Error:
    """As a message of the contract."""
    return common_pb2.Error(**{field.name: getattr(public, field.name) for field in fields(public)})


def from_wire(message: common_pb2.Error) -> PublicError:
    """Foreign text made safe for a terminal and a log: bounded, printable, a code of the table."""
    values = {field.name: printable(getattr(message, field.name)) for field in fields(PublicError)}
    if values["code"] not in ROWS:
        values["code"] = "bug"
    return PublicError(**values)


def from_rpc(error: AioRpcError, whose: str) -> RemoteFailure:
    """What a failed call to party `whose` means here."""
    # The stubs speak of one pair where there are many.
    metadata = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in metadata:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return RemoteFailure(from_wire(common_pb2.Error.FromString(value[:8192])))
            except DecodeError:
                break
    code, what = STATUS_ALONE.get(error.code(), STATUS_ALONE[StatusCode.UNKNOWN])
    return RemoteFailure(PublicError(code, f"{whose}: {what}", whose))


def printable(text: str) -> str:
    """Foreign text made safe for a terminal and a log: bounded, on one line."""
    return "".join(c if c.isprintable() else " " for c in text[:MAX_TEXT])
