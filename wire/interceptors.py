"""What every call passes before its handler: who asks, may they, how long may it take, how does it fail.

The access matrix is a table; a call without a row is refused. Knows nothing of what the handlers do.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog

from wire.errors import DETAILS_KEY, Forbidden, Overdue, Unauthenticated, row_of, to_public, to_wire
from wire.gatekeeper import Caller, Gatekeeper, Role

if TYPE_CHECKING:
    from wire.gatekeeper import Context

    Handler = grpc.RpcMethodHandler[Any, Any]      # generic in the stubs only


@dataclass(frozen=True)
class Rule:
    """Who may make a call and how long it may take; None: as long as the stream lives."""

    roles: frozenset[Role]
    deadline_s: float | None


_COORDINATOR: frozenset[Role] = frozenset({"coordinator"})
_PEER: frozenset[Role] = frozenset({"peer"})
_ALL: frozenset[Role] = frozenset({"coordinator", "peer", "self"})
ACCESS: Mapping[str, Rule] = {
    "/wire.v1.Control/Describe": Rule(_COORDINATOR, 30.0),
    "/wire.v1.Control/Rehearse": Rule(_COORDINATOR, 60.0),
    "/wire.v1.Control/Propose": Rule(_COORDINATOR, 60.0),
    "/wire.v1.Control/Start": Rule(_COORDINATOR, 60.0),
    "/wire.v1.Control/Watch": Rule(_COORDINATOR, None),
    "/wire.v1.Control/Cancel": Rule(_COORDINATOR, 60.0),
    "/wire.v1.Peer/Converse": Rule(_PEER, None),
    "/grpc.health.v1.Health/Check": Rule(_ALL, 10.0),
    "/grpc.health.v1.Health/Watch": Rule(_ALL, None),
}

_caller: ContextVar[Caller] = ContextVar("caller")
_Behaviour = Callable[..., Any]   # one of four shapes, each with its own request and response types
_log = structlog.get_logger("wire")

def current_caller() -> Caller:
    """Who makes the call that is being handled."""
    return _caller.get()


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Authentication, access, deadline and error mapping around every handler."""

    def __init__(self, keeper: Gatekeeper, me: str) -> None:
        self._keeper, self._me = keeper, me

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler, wrapped; a call that nobody offers gets a handler that refuses like any other."""
        method = details.method
        handler = await continuation(details)
        if handler is None or method not in ACCESS:
            return grpc.unary_unary_rpc_method_handler(self._refusing(method))
        shape = "_".join("stream" if flag else "unary" for flag in (
            handler.request_streaming, handler.response_streaming
        ))
        inner: _Behaviour = getattr(handler, shape)
        wrap = self._streaming if inspect.isasyncgenfunction(inner) else self._single
        make: Callable[..., Handler] = getattr(grpc, f"{shape}_rpc_method_handler")
        return make(wrap(method, inner), handler.request_deserializer, handler.response_serializer)

    def _single(self, method: str, inner: _Behaviour) -> _Behaviour:
        async def call(request: Any, context: Context) -> Any:
            failure: Exception
            try:
                with self._admitted(method, context):
                    async with _deadline(method):
                        return await inner(request, context)
            except Exception as error:   # a process edge: full log here, public sentence to the caller
                failure = error
            return await self._abort(method, context, failure)

        return call

    def _streaming(self, method: str, inner: _Behaviour) -> _Behaviour:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            failure: Exception
            try:
                with self._admitted(method, context):
                    async with _deadline(method), aclosing(inner(request, context)) as responses:
                        async for response in responses:
                            yield response
                return
            except Exception as error:   # a process edge: full log here, public sentence to the caller
                failure = error
            await self._abort(method, context, failure)

        return call

    def _refusing(self, method: str) -> _Behaviour:
        async def call(request: Any, context: Context) -> Any:
            failure: Exception = Forbidden("there is no such call", whose=self._me, reason="no-such-call")
            try:
                self._keeper.identify_call(context)
            except Unauthenticated as error:
                failure = error
            return await self._abort(method, context, failure)

        return call

    @contextmanager
    def _admitted(self, method: str, context: Context) -> Iterator[Caller]:
        caller = self._keeper.identify_call(context)
        if caller.role not in ACCESS[method].roles:
            raise Forbidden(
                f"{caller.party} may not make this call as {caller.role}",
                whose=caller.party, reason="not-its-role",
            )
        _caller.set(caller)
        yield caller

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


@asynccontextmanager
async def _deadline(method: str) -> AsyncIterator[None]:
    """The row's deadline around one call; too late is Overdue, not a bare TimeoutError."""
    try:
        async with asyncio.timeout(ACCESS[method].deadline_s):
            yield
    except TimeoutError:
        raise Overdue("the call took longer than it may", reason="deadline") from None
