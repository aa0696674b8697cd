"""What every call passes before its handler: who asks, may they, how many at once, how long may it take, how does it
fail.

The access matrix is a table; a call without a row is refused. Whoever calls is asked before its request is waited for,
so that one who never sends it holds no more than its share. Knows nothing of what the handlers do.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from mpc.errors import LocalError
from wire.errors import (
    DETAILS_KEY,
    Forbidden,
    Overdue,
    TooManyCalls,
    Unauthenticated,
    row_of,
    to_public,
    to_wire,
)
from wire.gatekeeper import Caller, Gatekeeper, Role

if TYPE_CHECKING:
    from wire.gatekeeper import Context

    Handler = grpc.RpcMethodHandler[Any, Any]      # generic in the stubs only


@dataclass(frozen=True)
class Rule:
    """Who may make a call, how long it may take (None: as long as the stream lives), how many one caller may have."""

    roles: frozenset[Role]
    deadline_s: float | None
    at_once: int


_COORDINATOR: frozenset[Role] = frozenset({"coordinator"})
_PEER: frozenset[Role] = frozenset({"peer"})
_ALL: frozenset[Role] = frozenset({"coordinator", "peer", "self"})
ACCESS: Mapping[str, Rule] = {
    "/wire.v1.Control/Describe": Rule(_COORDINATOR, 30.0, 8),
    "/wire.v1.Control/Rehearse": Rule(_COORDINATOR, 60.0, 8),
    "/wire.v1.Control/Propose": Rule(_COORDINATOR, 60.0, 8),
    "/wire.v1.Control/Start": Rule(_COORDINATOR, 60.0, 8),
    "/wire.v1.Control/Watch": Rule(_COORDINATOR, None, 64),
    "/wire.v1.Control/Cancel": Rule(_COORDINATOR, 60.0, 8),
    "/wire.v1.Peer/Converse": Rule(_PEER, None, 8),
    "/grpc.health.v1.Health/Check": Rule(_ALL, 10.0, 8),
    "/grpc.health.v1.Health/Watch": Rule(_ALL, 60.0, 8),
}
MAX_CALLERS = 17               # a consortium of the largest size
MAX_CALLS = MAX_CALLERS * sum(rule.at_once for rule in ACCESS.values())   # so that no caller's share is another's
REQUEST_S = 10.0

_caller: ContextVar[Caller] = ContextVar("caller")
_Behaviour = Callable[..., Any]   # one of four shapes, each with its own request and response types
_Take = Callable[[Any, "Context"], Awaitable[Any]]
_log = structlog.get_logger("wire")

def current_caller() -> Caller:
    """Who makes the call that is being handled."""
    return _caller.get()


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Authentication, access, deadline and error mapping around every handler."""

    def __init__(self, keeper: Gatekeeper, me: str) -> None:
        self._keeper, self._me = keeper, me
        self._under_way: Counter[tuple[str, str]] = Counter()    # per caller and method

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler, wrapped; a call that nobody offers gets a handler that refuses like any other."""
        method = details.method
        handler = await continuation(details)
        if handler is None or method not in ACCESS:
            return grpc.stream_unary_rpc_method_handler(self._refusing(method))
        given, answer = ("stream" if flag else "unary" for flag in (
            handler.request_streaming, handler.response_streaming
        ))
        inner: _Behaviour = getattr(handler, f"{given}_{answer}")
        wrap = self._streaming if inspect.isasyncgenfunction(inner) else self._single
        # Where a single request is due, gRPC would wait for it before it called us: it is told of a stream.
        make: Callable[..., Handler] = getattr(grpc, f"stream_{answer}_rpc_method_handler")
        if handler.request_streaming:
            return make(wrap(method, inner, _all_of_them), handler.request_deserializer, handler.response_serializer)
        take = _the_one(handler.request_deserializer or bytes)
        return make(wrap(method, inner, take), None, handler.response_serializer)

    def _single(self, method: str, inner: _Behaviour, take: _Take) -> _Behaviour:
        async def call(requests: Any, context: Context) -> Any:
            failure: Exception
            try:
                with self._admitted(method, context):
                    async with _deadline(method):
                        return await inner(await take(requests, context), context)
            except Exception as error:   # a process edge: full log here, public sentence to the caller
                failure = error
            return await self._abort(method, context, failure)

        return call

    def _streaming(self, method: str, inner: _Behaviour, take: _Take) -> _Behaviour:
        async def call(requests: Any, context: Context) -> AsyncIterator[Any]:
            failure: Exception
            try:
                with self._admitted(method, context):
                    async with _deadline(method):
                        request = await take(requests, context)
                        async with aclosing(inner(request, context)) as responses:
                            async for response in responses:
                                yield response
                return
            except Exception as error:   # a process edge: full log here, public sentence to the caller
                failure = error
            await self._abort(method, context, failure)

        return call

    def _refusing(self, method: str) -> _Behaviour:
        async def call(requests: Any, context: Context) -> Any:
            failure: Exception = Forbidden("there is no such call", whose=self._me, reason="no-such-call")
            try:
                self._keeper.identify_call(context)
            except Unauthenticated as error:
                failure = error
            return await self._abort(method, context, failure)

        return call

    @contextmanager
    def _admitted(self, method: str, context: Context) -> Iterator[Caller]:
        caller, rule = self._keeper.identify_call(context), ACCESS[method]
        if caller.role not in rule.roles:
            raise Forbidden(
                f"{caller.party} may not make this call as {caller.role}",
                whose=caller.party, reason="not-its-role",
            )
        share = (caller.party, method)
        if self._under_way[share] >= rule.at_once:
            raise TooManyCalls(
                f"{caller.party} has {rule.at_once} such calls under way", whose=caller.party,
                advice="wait until one has ended", reason="too-many-calls",
            )
        self._under_way[share] += 1
        try:
            _caller.set(caller)
            yield caller
        finally:
            self._under_way[share] -= 1

    async def _abort(self, method: str, context: Context, failure: Exception) -> Any:
        public, row = to_public(failure, self._me), row_of(failure)
        if row.code == "bug":
            _log.error("call failed", method=method, code=row.code, exc_info=failure)
        else:
            _log.warning(
                "call refused", method=method, code=row.code, reason=public.reason, whose=public.whose,
                what=public.what,
            )
        details = to_wire(public).SerializeToString()
        await context.abort(row.status, public.what, trailing_metadata=((DETAILS_KEY, details),))


async def _all_of_them(requests: Any, context: Context) -> Any:
    return requests


def _the_one(parse: Callable[[bytes], Any]) -> _Take:
    """The single request of a call, as `parse` reads it."""

    async def take(requests: Any, context: Context) -> Any:
        try:
            async with asyncio.timeout(REQUEST_S):
                raw = await context.read()
            return parse(raw)
        except TimeoutError:
            raise Overdue("the request did not come", reason="no-request") from None
        except (DecodeError, TypeError):     # TypeError: the end of the stream came in its place
            raise LocalError("the request was not understood", "compare the versions") from None

    return take


@asynccontextmanager
async def _deadline(method: str) -> AsyncIterator[None]:
    """The row's deadline around one call; too late is Overdue, not a bare TimeoutError."""
    try:
        async with asyncio.timeout(ACCESS[method].deadline_s):
            yield
    except TimeoutError:
        raise Overdue("the call took longer than it may", reason="deadline") from None
