"""Reading what was sent: its shape, its bytes, and every form in which a known value might hide in it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from mpc.testing.memory_link import Sent

Shape = tuple[str, str, str, int, str, tuple[int, ...]]


def leaves(value: Any) -> Iterator[int | bytes | np.ndarray[Any, Any]]:
    """The integers, byte strings and arrays that a message is made of, in field order."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from leaves(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, str):
        yield value.encode()
    elif isinstance(value, int | bytes | np.ndarray):
        yield value
    elif value is not None:
        raise TypeError(f"a message must not hold a {type(value).__name__}")


def _size(leaf: int | bytes | np.ndarray[Any, Any]) -> int:
    if isinstance(leaf, int):
        return max(1, -(-leaf.bit_length() // 7))  # as a protobuf varint
    return len(leaf) if isinstance(leaf, bytes) else leaf.nbytes


def shape(transcript: Sequence[Sent]) -> list[Shape]:
    """Who sent whom, on which channel, at which place, a message of which kind, its fields how long."""
    return sorted(
        (s.sender, s.receiver, s.channel, s.index, type(s.message).__name__,
         tuple(_size(leaf) for leaf in leaves(s.message)))
        for s in transcript
    )


def content(transcript: Iterable[Sent]) -> bytes:
    """All bytes of all messages, and what a log line of each would print."""
    parts: list[bytes] = []
    for sent in transcript:
        parts.append(repr(sent.message).encode())
        for leaf in leaves(sent.message):
            if isinstance(leaf, int):
                parts.append(leaf.to_bytes((leaf.bit_length() + 8) // 8, "little", signed=True))
            else:
                parts.append(leaf if isinstance(leaf, bytes) else leaf.tobytes())
    return b"\0\0".join(parts)


def encodings(canary: bytes, salts: Sequence[bytes] = ()) -> dict[str, bytes]:
    """Forms of a value of 8 bytes or more that would give it away, by name: raw, hex, base64, hashed, salted."""
    if len(canary) < 8:
        raise ValueError("a canary has 8 bytes or more: shorter ones turn up by chance")
    forms = {"raw": canary, "reversed": canary[::-1], "utf-16": canary.decode("latin-1").encode("utf-16-le")}
    messages = {"": canary}
    for number, salt in enumerate(salts):
        messages |= {f" salt {number} before": salt + canary, f" salt {number} after": canary + salt}
    digests = {
        algorithm + suffix: hashlib.new(algorithm, message).digest()
        for suffix, message in messages.items()
        for algorithm in ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b")
    }
    written: dict[str, bytes] = {}
    # 8 bytes suffice to recognise a digest, and catch one that was cut short
    for name, form in [*forms.items(), *((name, digest[:8]) for name, digest in digests.items())]:
        written[name] = form
        written[name + " hex"] = form.hex().encode()
        written[name + " HEX"] = form.hex().upper().encode()
    for name, form in [*forms.items(), *digests.items()]:
        for skip in range(3):
            written |= _base64_forms(name, form, skip)
    return written


def _base64_forms(name: str, form: bytes, skip: int) -> dict[str, bytes]:
    """`form` inside a longer base64 text, `skip` bytes after a group began: only whole groups are certain."""
    first, last = -(-skip // 3) * 3, (skip + len(form)) // 3 * 3
    body = base64.b64encode((bytes(skip) + form)[first:last])[:12]
    if len(body) < 8:
        return {}
    safe = body.replace(b"+", b"-").replace(b"/", b"_")
    return {f"{name} base64/{skip}": body, f"{name} base64url/{skip}": safe}


def found(canaries: Iterable[bytes], where: bytes, salts: Sequence[bytes] = ()) -> list[str]:
    """Which forms of which canary (by number) occur in `where`; the values themselves are not repeated."""
    return [
        f"canary {number}: {name}"
        for number, canary in enumerate(canaries)
        for name, form in encodings(canary, salts).items()
        if form in where
    ]
