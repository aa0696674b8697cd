"""What is wrong with this node, or with the way to a peer, before any job: each check with its remedy.

Reads the party directory and tries ports; sends nothing but our public certificate, to a peer's doctor.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from mpc.errors import LocalError, MpcError
from mpc.kernels.compiling import code_cache
from mpc.kernels.engines.selection import NEEDS, engine_name, modulus
from party_node.config import PartyConfig, PartyDirectory
from party_node.records.audit import verify_log
from party_node.records.store import Store
from wire import certificates
from wire.consortium import Consortium, load_consortium
from wire.diagnosis import ask_doctor, check_certificate, check_listening, refused
from wire.errors import Unauthenticated, to_public
from wire.gatekeeper import Gatekeeper
from wire.tls import check_own, split_address

FREE_GB = 5
DAYS_LEFT = 30
CLOCK_SKEW_S = 60.0
SPEED_BITS, SPEED_COUNT = 2048, 64
Outcome = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Check:
    """One finding. `bad`: a job will fail; `warn`: it may."""

    name: str
    outcome: Outcome
    what: str
    advice: str = ""


def examine(directory: PartyDirectory) -> Iterator[Check]:
    """All local checks, one after the other; a broken part does not hide the others."""
    yield _guarded("permissions", lambda: _permissions(directory))
    yield _guarded("disk", lambda: _disk(directory))
    try:
        config = directory.load_config()
    except LocalError as error:
        yield Check("configuration", "bad", error.what, error.advice)
        return
    yield _guarded("identity", lambda: _identity(directory))
    yield _guarded("certificate", lambda: _certificate(directory, config))
    yield _guarded("consortium", lambda: _consortium(directory, config))
    yield _guarded("state and audit", lambda: _audit(directory, config))
    yield _port(directory, "listen port", config.listen)
    yield _port(directory, "doctor port", config.doctor)
    yield Check("clock", "ok", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: compare it with a watch")
    yield _guarded("speed", _speed)
    yield _kernels()


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (MpcError, OSError) as error:
        public = to_public(error if isinstance(error, MpcError) else LocalError(str(error.strerror)), "")
        return Check(name, "bad", public.what, public.advice)


def _permissions(directory: PartyDirectory) -> Check:
    directory.check_permissions()
    return Check("permissions", "ok", f"nobody else on this machine can read {directory.root}")


def _disk(directory: PartyDirectory) -> Check:
    free = shutil.disk_usage(directory.root).free / 1e9
    outcome: Outcome = "ok" if free >= FREE_GB else "warn"
    return Check("disk", outcome, f"{free:.0f} GB free", "" if outcome == "ok" else f"{FREE_GB} GB is comfortable")


def _identity(directory: PartyDirectory) -> Check:
    return Check("identity", "ok", certificates.key_fingerprint(directory.load_identity().public_hex))


def _certificate(directory: PartyDirectory, config: PartyConfig) -> Check:
    identity = certificates.load(directory.tls, config.party)
    check_own(identity)
    found = certificates.check(identity.certificate_pem, config.party, identity.ca_pem)
    days = (found.not_valid_after_utc - datetime.now(UTC)).days
    if days < DAYS_LEFT:
        return Check("certificate", "warn", f"expires in {days} days", "run: party-node cert renew")
    return Check("certificate", "ok", f"in force for {days} days")


def _consortium(directory: PartyDirectory, config: PartyConfig) -> Check:
    path = directory.consortium_file(config)
    if not path.exists():
        return Check("consortium", "bad", f"{path} does not exist", "run: party-node join FILE")
    consortium = load_consortium(path)
    check_own_entry(directory, config, consortium)
    peers = ", ".join(member.id for member in consortium.party if member.id != config.party)
    return Check("consortium", "ok", f"with {peers or 'nobody else'}; coordinator {consortium.coordinator.id}")


def check_own_entry(directory: PartyDirectory, config: PartyConfig, consortium: Consortium) -> None:
    """LocalError unless the consortium file names us, with our CA and our identity key."""
    own = consortium.member(config.party)
    advice = f"send {directory.entry_file} to whoever writes the consortium file"
    if own.identity != directory.load_identity().public_hex:
        raise LocalError(f"the consortium file names another identity key for {config.party}", advice)
    ca_pem = certificates.load(directory.tls, config.party).ca_pem
    if certificates.fingerprint(own.ca_pem) != certificates.fingerprint(ca_pem):
        raise LocalError(f"the consortium file names another CA for {config.party}", advice)


def _audit(directory: PartyDirectory, config: PartyConfig) -> Check:
    if not directory.audit_log.exists():
        return Check("state and audit", "ok", "no line yet")
    store = Store(directory.state_db)
    try:
        head = verify_log(directory.audit_log, config.party, store.heads(ours=True))
    finally:
        store.close()
    return Check("state and audit", "ok", f"{head.count} lines, chain whole")


def _port(directory: PartyDirectory, name: str, address: str) -> Check:
    host, port = split_address(address)
    if port == 0:
        return Check(name, "ok", "any free port, told through the ready file")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((host, port))
        except OSError as error:
            if running(directory):
                return Check(name, "ok", f"{address}, in use by this node, which runs")
            return Check(name, "bad", f"cannot listen on {address}: {error.strerror}",
                         "stop the process that has the port, or choose another in party.toml")
    return Check(name, "ok", f"{address} is free")


def running(directory: PartyDirectory) -> bool:
    """Whether a daemon holds the directory's lock."""
    try:
        handle = os.open(directory.lock_file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _speed() -> Check:
    """Powers per second with the engine that jobs will use: the first call compiles or loads it."""
    engine = engine_name()
    number = modulus((1 << SPEED_BITS) - 981)
    bases = number.load(list(range(2, 2 + SPEED_COUNT)))
    exponent = (1 << SPEED_BITS) - 1
    number.pow_same(bases, exponent)
    start = time.perf_counter()
    number.pow_same(bases, exponent)
    rate = SPEED_COUNT / (time.perf_counter() - start)
    text = f"engine {engine}: {rate:.0f} powers of {SPEED_BITS} bits a second on {os.cpu_count()} cores"
    if engine in NEEDS:
        return Check("speed", "ok", f"native kernel on; {text}")
    return Check("speed", "warn", f"native kernel off; {text}", "a processor with AVX2 or AVX512-IFMA is faster")


def _kernels() -> Check:
    """Whether the next process finds compiled what this one compiled."""
    try:
        return Check("kernels", "ok", f"compiled once, kept in {code_cache.state()}")
    except code_cache.Closed as why:
        return Check("kernels", "warn", f"every process compiles its kernels, some seconds each: {why}",
                     f"let {code_cache.VARIABLE} name a directory of this user's alone")


async def examine_peer(directory: PartyDirectory, peer: str) -> list[Check]:
    """Is the peer's process up, is its certificate in order, would it let us in, do the clocks agree.

    Raises Unreachable or Unauthenticated, which name the side and the command that mends it.
    """
    config = directory.load_config()
    consortium = load_consortium(directory.consortium_file(config))
    member = consortium.member(peer)
    identity = certificates.load(directory.tls, config.party)
    check_own(identity)
    await check_listening(member)
    await check_certificate(member, Gatekeeper(consortium, identity))
    opinion = await ask_doctor(member, identity)
    if opinion.refusal is not None:
        why = refused(member, identity, opinion.refusal)
        raise Unauthenticated(f"{peer} would refuse us: {why.what}", whose=why.whose, advice=why.advice,
                              reason=why.reason)
    skew = opinion.clock_ms / 1000 - time.time()
    clock = Check("clock", "ok", f"differs by {abs(skew):.1f} s")
    if abs(skew) > CLOCK_SKEW_S:
        clock = Check("clock", "bad", f"the clocks differ by {abs(skew):.0f} s", f"set it here or on {peer} (NTP)")
    return [
        Check("process", "ok", f"{peer} listens at {member.address}"),
        Check("their certificate", "ok", "in order, and signed by their own CA"),
        Check("our certificate", "ok", f"{peer} would let us in"),
        clock,
    ]
