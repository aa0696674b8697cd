"""The edge of the command line: what a command returns or raises becomes text, one JSON envelope, an exit code.

Shared by both programs. Human text goes to stderr. With `--json` stdout holds exactly one object: {ok, code, data} or
{ok, code, error: {code, what, whose, advice, reason}}. No traceback is shown; a bug gets a short reference and its
traceback goes to the local log (0600). Knows no command.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import typer
from rich.console import Console

from mpc.errors import LocalError
from wire.errors import JOB_FAILED, OK, OUR_BUG, WRONG_INPUT, PublicError, RemoteFailure, exit_code, to_public

INTERRUPTED = 130
AT_THE_KEYBOARD = PublicError("cancelled", "stopped at the keyboard", advice="run the command again")
# typer vendors its parser: the class of usage errors is reached through the one that typer exports.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class Session(Protocol):
    """One invocation of `program`; `party` is whose side it is, once the command has found out."""

    @property
    def program(self) -> str: ...

    @property
    def party(self) -> str: ...

    @property
    def log_file(self) -> Path: ...


def console() -> Console:
    """For people: stderr."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def plain(text: str) -> str:
    """Foreign text made safe for a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def run(app: typer.Typer, arguments: Sequence[str], session: Session) -> int:
    """Run a command to its exit code; nothing escapes. `--json` and `--dir` may stand anywhere on the line."""
    as_json = "--json" in arguments
    words = [argument for argument in arguments if argument != "--json"]
    try:
        result = app(_directory_first(words), standalone_mode=False, obj=session, prog_name=session.program)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(AT_THE_KEYBOARD, JOB_FAILED, as_json)
    except UsageError as error:
        what = getattr(error, "format_message", str)() or "a command is missing"
        return _fail(PublicError("wrong-input", what, session.party, f"{session.program} --help"), WRONG_INPUT, as_json)
    except sqlite3.OperationalError:
        locked = LocalError("state.db cannot be used", "check the disk and the permissions of the directory")
        return _fail(to_public(locked, session.party), WRONG_INPUT, as_json)
    except OSError as error:
        what = f"{error.filename or 'a file'}: {error.strerror or type(error).__name__}"
        return _fail(to_public(LocalError(what, "check path and permissions"), session.party), WRONG_INPUT, as_json)
    except Exception as error:  # the process edge
        code = exit_code(error)
        public = to_public(error, session.party)
        ours = code == OUR_BUG and not isinstance(error, RemoteFailure)
        return _fail(_bug(session, error) if ours else public, code, as_json)
    if result == INTERRUPTED:  # how typer reports Ctrl-C
        return _fail(AT_THE_KEYBOARD, JOB_FAILED, as_json)
    if as_json and isinstance(result, dict):
        _envelope({"ok": True, "code": OK, "data": result})
    return result if isinstance(result, int) else OK


def _directory_first(words: Sequence[str]) -> list[str]:
    """`--dir X` belongs to the program, whichever side of the command's name it stands on."""
    front: list[str] = []
    rest: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--dir":
            front += [word, *(value for value in [next(left, None)] if value is not None)]
        else:
            (front if word.startswith("--dir=") else rest).append(word)
    return front + rest


def _fail(error: PublicError, code: int, as_json: bool) -> int:
    out = console()
    out.print(f"{error.reason or error.code}: {plain(error.what)}", style="bold red")
    if error.whose:
        out.print(f"  whose side: {plain(error.whose)}")
    if error.advice:
        out.print(f"  what to do: {plain(error.advice)}")
    if as_json:
        body = {"code": error.code, "what": error.what, "whose": error.whose, "advice": error.advice,
                "reason": error.reason}
        _envelope({"ok": False, "code": code, "error": body})
    return code


def _bug(session: Session, error: Exception) -> PublicError:
    """Write the traceback to the local log, and name it by a reference."""
    reference = secrets.token_hex(4)
    log = session.log_file
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            file.write(f"bug {reference}\n{''.join(traceback.format_exception(error))}\n")
        where = f"send the lines after `bug {reference}` in {log}"
    except OSError:
        where = f"{log} could not be written: check its directory"
    return PublicError("bug", f"a bug in {session.program} ({reference})", session.party, where)


def _envelope(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()
