"""Compiled kernels of this machine and release, in a private directory (docs/adr/0023-kernels-are-compiled-once.md).

It knows names and bytes, not what code does. What does not fit in owner, mode, name or digest is no entry. Whoever
loads and keeps sees no error: without a directory that is this user's alone there is simply nothing kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

VARIABLE = "JCR_KERNEL_CACHE"            # an absolute path; empty: nothing is kept
FOLDER = ("joint-credit-risk", "kernels")  # in the user's directory of caches
MAGIC = b"joint-credit-risk kernel 1\n"
LARGEST = 16 << 20                       # bytes of an entry; the largest kernel has 100 KiB
MOST = 128                               # entries of one release: it writes some thirty for a processor
STALE_S = 3600                           # how much older than a new entry a temporary file is when nobody writes it
OTHERS = 0o077
_MADE = 3                                # of the last parts of the path, those that are missing are made
_OWN_NAMES = re.compile(r"(?P<half>\.)?(?P<release>[0-9a-f]{16})-[0-9a-f]{64}(\.\d+\.\d+)?")


class Closed(Exception):
    """Why there is no directory to trust; for people."""


def directory() -> Path:
    """Where this user's kernels are kept. Closed: nowhere."""
    given, base, home = (os.environ.get(name) for name in (VARIABLE, "XDG_CACHE_HOME", "HOME"))
    if given == "":
        raise Closed(f"{VARIABLE} is empty")
    if given is not None:
        found = Path(given)
    elif base and Path(base).is_absolute():
        found = Path(base, *FOLDER)
    elif home:
        found = Path(home, ".cache", *FOLDER)
    else:
        raise Closed(f"neither HOME nor {VARIABLE} is set")
    if not found.is_absolute() or ".." in found.parts:
        raise Closed(f"{found} is no absolute path")
    return found


def name_of(release: str, *parts: str) -> str:
    """The name of the entry for what `parts` describe: all that its code depends on."""
    described = json.dumps([release, *parts]).encode()
    return f"{_short(release)}-{hashlib.sha256(described).hexdigest()}"


def load(name: str) -> bytes | None:
    """What was kept under `name`, if it is ours, whole and unaltered."""
    try:
        with _opened(directory()) as folder:
            data = _read(folder, name)
    except (Closed, OSError):
        return None
    begin = len(MAGIC) + hashlib.sha256().digest_size
    if data is None or data[:begin] != MAGIC + _digest(name, data[begin:]):
        return None
    return data[begin:]


def keep(name: str, payload: bytes) -> None:
    """Put `payload` in the place of whatever has this name, at once and whole; drop what other releases left."""
    with suppress(Closed, OSError), _opened(directory()) as folder:
        _write(folder, name, MAGIC + _digest(name, payload) + payload)
        _tidy(folder, name)


def state() -> str:
    """For people: where kernels are kept. Closed: why they are not."""
    path = directory()
    try:
        with _opened(path):
            return str(path)
    except OSError as failure:
        raise Closed(f"{path}: {failure.strerror}") from failure


# ---------------------------------------------------------------- the directory


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of the directory, made if need be. Closed, OSError: it is not ours alone, or cannot be had.

    Every step of the way is opened without following links and looked at through its descriptor, so that nothing can be
    exchanged between a look and its use. Whoever may write to a directory above could lead us elsewhere: it must belong
    to us or to root and be closed to the writes of others, or be sticky, as /tmp is, where nobody moves what is ours.
    """
    current = os.open(path.anchor, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)   # where we may pass but not look
    try:
        names = path.parts[1:]
        for place, part in enumerate(names):
            found = os.fstat(current)
            if found.st_uid not in (0, os.geteuid()):
                raise Closed(f"the directory above {part} in {path} belongs to somebody else")
            if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
                raise Closed(f"others may write to the directory above {part} in {path}")
            reading = os.O_RDONLY if place == len(names) - 1 else os.O_PATH
            try:
                following = _step(current, part, reading, len(names) - place <= _MADE)
            except NotADirectoryError:
                way = Path(path.anchor, *names[:place + 1])
                raise Closed(f"{way} is a link or no directory (let {VARIABLE} name the real path)") from None
            os.close(current)
            current = following
        found = os.fstat(current)
        if found.st_uid != os.geteuid():
            raise Closed(f"{path} belongs to somebody else")
        if found.st_mode & OTHERS:
            raise Closed(f"{path} is open to others (chmod 700, after a look at what is in it)")
        yield current
    finally:
        os.close(current)


def _step(folder: int, part: str, reading: int, may_make: bool) -> int:
    flags = reading | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(part, flags, dir_fd=folder)
    except FileNotFoundError:
        if not may_make:
            raise
    with suppress(FileExistsError):        # another process made it
        os.mkdir(part, 0o700, dir_fd=folder)
    return os.open(part, flags, dir_fd=folder)


# ---------------------------------------------------------------- entries


def _digest(name: str, payload: bytes) -> bytes:
    """Of payload and name: an entry under another's name is none. It finds damage; owner and mode keep others out."""
    return hashlib.sha256(MAGIC + name.encode() + b"\0" + payload).digest()


def _short(release: str) -> str:
    return hashlib.sha256(release.encode()).hexdigest()[:16]


def _read(folder: int, name: str) -> bytes | None:
    """The bytes of a plain file that is ours alone; whoever may write to it later changes nothing of them."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC   # a pipe is not waited for
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
        if not ours or found.st_mode & OTHERS or found.st_size > LARGEST:
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(LARGEST)
    finally:
        os.close(descriptor)


def _write(folder: int, name: str, data: bytes) -> None:
    half = f".{name}.{os.getpid()}.{threading.get_ident()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(half, flags, 0o600, dir_fd=folder)     # somebody else's is not ours to remove
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.rename(half, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(half, dir_fd=folder)
        raise


def _tidy(folder: int, written: str) -> None:
    """Remove other releases' entries, the oldest beyond MOST, and halves whose writer is gone."""
    now, ours = os.stat(written, dir_fd=folder, follow_symlinks=False).st_mtime, []
    for name in os.listdir(folder):
        match = _OWN_NAMES.fullmatch(name)
        if match is None:
            continue                       # not of our making
        with suppress(OSError):            # another process was quicker
            age = now - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
            if match["half"]:
                gone = age > STALE_S
            else:
                gone = match["release"] != written[:16]
                ours += [] if gone else [(age, name)]
            if gone:
                os.unlink(name, dir_fd=folder)
    for _, name in sorted(ours)[MOST:]:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
