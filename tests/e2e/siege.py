"""A process that wants to lock others out of a node: `python -m tests.e2e.siege DIRECTORY PARTY VICTIM [strangers]`.

It holds the directory, and so all keys, of a member with a lower id than the victim's. Until it is ended it keeps 1,300
idle connections and 50 half-open handshakes to the victim's port, 256 watchers of its health and 64 calls whose
request never comes; and it dials the victim again and again, greets and proves itself as it should, and then names
jobs and channels, 10^5 in all, and announces messages of a gibibyte. With `strangers` it does only what needs no
certificate. It says `held` when connections and calls are in place, and `flooded` when it has sent all that.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import secrets
import socket
import sys
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from party_node.config import PartyDirectory
from wire import tls
from wire.certificates import load, serial
from wire.codec import Envelope
from wire.consortium import Member, load_consortium
from wire.signing import Identity, StreamEnd, prove_stream

IDLE, HALF_OPEN, WATCHERS, UNSAID, NAMES = 1300, 50, 256, 64, 100_000
HALF = b"\x16\x03\x01\x02\x00\x01"       # the beginning of a record with a ClientHello
ANNOUNCED = 1 << 30


async def connections(member: Member, held: asyncio.Event) -> None:
    """Whatever the victim closes is opened again."""
    address = tls.split_address(member.address)
    open_ones: list[socket.socket | None] = [None] * (IDLE + HALF_OPEN)
    while True:
        for number, one in enumerate(open_ones):
            if one is not None and over(one):
                one.close()
                open_ones[number] = one = None
            if one is None:
                with contextlib.suppress(OSError):
                    open_ones[number] = fresh = socket.create_connection(address, timeout=0.2)
                    fresh.setblocking(False)
                    if number >= IDLE:
                        fresh.sendall(HALF)
            if number % 50 == 0:
                await asyncio.sleep(0)
        held.set()
        await asyncio.sleep(0.2)


def over(one: socket.socket) -> bool:
    try:
        return one.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


async def calls(member: Member, directory: PartyDirectory, party: str, held: asyncio.Event) -> None:
    """Watchers, and calls that say nothing; those that end are made again."""
    own = load(directory.tls, party)
    through = [tls.dial(member.address, member.id, member.ca_pem, own) for _ in range(4)]
    running: list[grpc.aio.Call | None] = [None] * (WATCHERS + UNSAID)
    while True:
        for number, call in enumerate(running):
            if call is None or call.done():
                channel = through[number % len(through)]
                if number < WATCHERS:
                    running[number] = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
                else:
                    running[number] = channel.stream_unary("/grpc.health.v1.Health/Check")()
        await asyncio.sleep(1.0)
        held.set()


async def flood(member: Member, directory: PartyDirectory, party: str, done: asyncio.Event) -> None:
    """Greets as it should, then sends what belongs to no job: names of channels, and announcements."""
    own = load(directory.tls, party)
    key = Identity.from_pem(directory.identity_key.read_bytes())

    def envelope(**fields: object) -> bytes:
        return Envelope(sender=party, receiver=member.id, **fields).SerializeToString()

    for attempt in range(10):
        channel = tls.dial(member.address, member.id, member.ca_pem, own)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            call = channel.stream_stream("/wire.v1.Peer/Converse")()
            mine = StreamEnd(party, serial(own.certificate_pem), secrets.token_bytes(16), secrets.token_bytes(16))
            await call.write(envelope(hello={"instance": mine.instance, "version": 2, "nonce": mine.nonce}))
            heard = Envelope.FromString(await call.read()).hello
            shown = serial(await tls.look(member.address, own))
            theirs = StreamEnd(member.id, shown, heard.instance, heard.nonce)
            await call.write(envelope(proof={"signature": prove_stream(key, mine, theirs)}))
            await call.read()
            for number in range(NAMES // 10):        # jobs that nobody knows, opened in advance
                where = {"job": secrets.token_hex(32), "channel": f"/{attempt}/{number}"}
                await call.write(envelope(**where, open={"signature": bytes(64)}))
            for number in range(100):                # what belongs to no job ends the stream
                where = {"job": "0" * 64, "channel": f"/{attempt}/x{number}"}
                await call.write(envelope(**where, fragment={"total_size": ANNOUNCED, "field": 20,
                                                             "data": bytes(256 << 10)}))
        await channel.close()
    done.set()


async def main(directory: PartyDirectory, party: str, victim: str, strangers: bool) -> None:
    member = load_consortium(directory.consortium_file(directory.load_config())).member(victim)
    connected, called, flooded = (asyncio.Event() for _ in range(3))
    work = [connections(member, connected)]
    if not strangers:
        work += [calls(member, directory, party, called), flood(member, directory, party, flooded)]

    async def tell() -> None:
        await connected.wait()
        if not strangers:
            await called.wait()
        print("held", flush=True)
        await flooded.wait()
        print("flooded", flush=True)

    await asyncio.gather(tell(), *work)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(PartyDirectory(Path(sys.argv[1])), *sys.argv[2:4], strangers="strangers" in sys.argv))
