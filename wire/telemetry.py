"""Structured logs in JSON: only fields of an allow-list get through, so that a careless line cannot carry a value.

An unexpected exception leaves its type and the places it passed, never its text, which may quote data.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from mpc.errors import MpcError

FIELDS = frozenset({
    "event", "level", "timestamp", "logger", "party", "peer", "whose", "culprit", "job", "stage", "step", "method",
    "code", "reason", "what", "advice", "kind", "direction", "channel", "count", "size", "digest", "done", "total",
    "port", "seconds", "exit_code", "state", "version", "engine", "error", "frames", "serial",
})
MAX_TEXT = 600


def configure(log_file: Path | None = None, level: str = "info") -> None:
    """Send structlog to `log_file` (0600, appended) or to stderr. Call once, at the start of a process."""
    out: TextIO = sys.stderr
    if log_file is not None:
        handle = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        out = os.fdopen(handle, "a", encoding="utf-8", buffering=1)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            exception_without_text,
            allowed_fields,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def exception_without_text(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """`exc_info` becomes `error` (type; the text too if it is one of ours, made for others) and `frames`."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        known = isinstance(error, MpcError)
        event["error"] = f"{type(error).__name__}: {error}" if known else type(error).__name__
        event["frames"] = [
            f"{Path(frame.filename).name}:{frame.lineno}:{frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ]
    return event


def allowed_fields(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Drop every field that is not on the list and say how many; shorten long texts."""
    kept = {key: value for key, value in event.items() if key in FIELDS}
    if len(kept) < len(event):
        kept["count_dropped"] = len(event) - len(kept)
    for key, value in kept.items():
        if isinstance(value, bytes | bytearray):
            kept[key] = f"{len(value)} bytes"
        elif isinstance(value, str):
            kept[key] = value[:MAX_TEXT]
    return kept
