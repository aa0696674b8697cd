"""Processes that die, stop or are stopped in the midst of training: told in time, by name, and no half a model."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from coordinator.config import CoordinatorDirectory
from coordinator.jobs.node_client import NodeClient, connect
from coordinator.jobs.store import Store
from joint_risk.local_consortium import COORDINATOR
from mpc.errors import LocalError
from party_node.models.part import load_part
from tests.e2e.scene import COMMON_OF_TWO, Ran, Scene
from wire.errors import RemoteFailure
from wire.signing import check_approvals
from wire.spec.job import decode_spec, encode_spec, job_id

DEAD_S = 30.0


def no_model(scene: Scene, job: str) -> None:
    """No party has a whole or half a model of `job`, on disk or listed."""
    for party in scene.parties:
        assert not [name for name in scene.models(party.id) if name.startswith(job)]
        assert not [name for name in scene.listed_models(party.id) if name.startswith(job)]


def told(ran: Ran, whose: str, *words: str) -> None:
    """The coordinator's command ended as a failed job in time, and says whose side it was."""
    assert ran.code == 1, ran.text
    assert ran.seconds < DEAD_S
    assert ran.error["whose"] == whose, ran.text
    for word in (whose, *words):
        assert word in ran.error["what"], ran.text


def killed(scene: Scene, victim: str) -> None:
    launch = scene.begin(scene.long_job())
    launch.iterating()
    job = scene.last_job(victim)["job"]
    scene.kill(victim)
    began = time.monotonic()
    ran = launch.wait(DEAD_S + 5)
    told(ran, victim, "the connection was lost", "its process is down", "stopped at train",
         f"of {scene.long_iterations}")
    assert f"on {victim}: party-node run" in ran.error["advice"]
    for party in scene.parties:
        if party.id != victim:
            row = scene.ended(party.id, DEAD_S)
            assert row["state"] in ("failed", "cancelled")
            assert victim in row["error"]
    assert time.monotonic() - began < DEAD_S
    for half in (f"{job}.partial", job):       # as if it had been writing, or had not yet registered what it wrote
        (scene.directory(victim) / "models" / half).mkdir(mode=0o700)
    scene.start(victim)
    assert scene.last_job(victim)["error"] == "this node stopped while the job ran"
    no_model(scene, job)
    with pytest.raises(LocalError, match="no model"):
        load_part(scene.directory(victim) / "models", job)
    assert len(scene.run(scene.job()).data["rows"]) == len(scene.parties)


@pytest.mark.parametrize("victim", ["bank", "shop"])
def test_a_node_of_two_that_is_killed_is_named_by_all_others_and_a_new_job_succeeds(two: Scene, victim: str) -> None:
    killed(two, victim)


def test_a_node_of_three_that_is_killed_is_named_by_all_others_and_a_new_job_succeeds(three: Scene) -> None:
    killed(three, "telco")


@pytest.fixture
def impatient(two: Scene) -> Iterator[Scene]:
    """The nodes of `two` with less patience: what they wait for is the same, and a job computes all the while."""
    two.stop()
    two.program = "tests.e2e.impatient_node"
    two.all_up()
    yield two
    two.stop()
    del two.program


def test_a_coordinator_that_is_killed_leaves_no_job_running(impatient: Scene) -> None:
    two = impatient
    slow = {"crypto": {"key_bits": 3072, "engine": "phe"},     # slow enough to outlive its coordinator
            "training": {"penalty": 1e-2, "iterations": 60, "expected_default_rate": 0.3}}
    launch = two.begin(two.job(**slow))
    launch.until("bank +train +encrypted masks")
    launch.process.kill()
    began = time.monotonic()
    for party in two.parties:
        row = two.ended(party.id, DEAD_S)
        assert row["state"] == "failed", row
        assert "the coordinator stopped watching the job" in row["error"]
        assert "stopped at train" in row["error"] or "stopped the job" in row["error"]
    assert time.monotonic() - began < DEAD_S
    no_model(two, two.last_job("bank")["job"])
    assert two.run(two.job()).data["common"] == COMMON_OF_TWO


def test_a_node_that_is_stopped_cleanly_ends_with_0_and_tells_its_peers(two: Scene) -> None:
    launch = two.begin(two.long_job())
    launch.iterating()
    assert two.stop_one("shop") == 0
    told(launch.wait(DEAD_S), "shop", "shop is shutting down", "stopped at train")
    assert {party.id: two.ended(party.id)["state"] for party in two.parties} == {"bank": "cancelled",
                                                                                  "shop": "cancelled"}
    assert "shop is shutting down" in two.last_job("bank")["error"]
    no_model(two, two.last_job("bank")["job"])


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM])
def test_a_coordinator_that_is_interrupted_cancels_the_job_everywhere(two: Scene, blow: signal.Signals) -> None:
    launch = two.begin(two.long_job())
    launch.iterating()
    launch.process.send_signal(blow)
    ran = launch.wait(DEAD_S)
    assert (ran.code, ran.error["code"]) == (1, "cancelled")
    for party in two.parties:
        row = two.ended(party.id, 5.0)
        assert row["state"] == "cancelled"
        assert "coordinator cancelled the job: the operator stopped it" in row["error"]
    assert two.coordinator("jobs").data["jobs"][0]["state"] == "cancelled"
    no_model(two, two.last_job("bank")["job"])


def test_a_job_is_cancelled_from_another_process(two: Scene) -> None:
    launch = two.begin(two.long_job())
    launch.iterating()
    stopped = two.coordinator("cancel", launch.job(), "--reason", "a wrong table")
    assert set(stopped.data["was_running"]) == {"bank", "shop"}
    assert any(stopped.data["was_running"].values())
    told(launch.wait(DEAD_S), COORDINATOR, "cancelled the job: a wrong table", "stopped at train")
    assert {party.id: two.ended(party.id)["state"] for party in two.parties} == {"bank": "cancelled",
                                                                                  "shop": "cancelled"}
    assert two.coordinator("jobs").data["jobs"][0]["state"] == "cancelled"
    no_model(two, two.last_job("bank")["job"])


def test_a_second_instance_on_one_directory_is_refused_and_does_the_first_no_harm(two: Scene) -> None:
    ran = two.node_process("shop", "run")
    assert ran.code == 4
    assert "another party-node already runs" in ran.error["what"]
    assert two.run(two.job()).data["common"] == COMMON_OF_TWO


# ---------------------------------------------------------------- what a dishonest coordinator may try


@pytest.fixture
async def nodes(two: Scene):
    _, consortium, identity = CoordinatorDirectory(two.directory(COORDINATOR)).load()
    clients: dict[str, NodeClient] = connect(consortium, identity)
    yield clients
    for client in clients.values():
        await client.close()


async def refusal(call) -> tuple[str, str]:
    with pytest.raises(RemoteFailure) as caught:
        await call
    return caught.value.public.code, caught.value.public.reason


async def test_a_job_that_ran_is_neither_signed_nor_started_again(two: Scene, nodes: dict[str, NodeClient]) -> None:
    record = two.run(two.job()).data
    store = Store(CoordinatorDirectory(two.directory(COORDINATOR)).state_db)
    spec = store.job(record["job_id"]).spec
    store.close()
    approvals = {party: bytes.fromhex(signature) for party, signature in record["approvals"].items()}
    check_approvals(decode_spec(spec), spec, approvals)
    before = {party: (two.models(party), two.operator(party, "dataset", "list").data) for party in nodes}
    for node in nodes.values():
        assert await refusal(node.start(spec, approvals)) == ("denied", "REPLAY")
        answer = await node.propose(spec)
        assert answer.signature is None
        assert answer.error is not None
        assert answer.error.reason == "REPLAY"
    assert {party: (two.models(party), two.operator(party, "dataset", "list").data) for party in nodes} == before


async def test_two_specs_for_two_parties_never_start(two: Scene, nodes: dict[str, NodeClient]) -> None:
    planned = two.coordinator("plan", two.launch_arguments(two.job())[1], "--no-rehearsal").data["spec"]
    one = encode_spec(decode_spec(_bytes(planned)))
    other = _bytes(planned | {"training": planned["training"] | {"iterations": 200}})
    first, second = await nodes["bank"].propose(one), await nodes["shop"].propose(other)
    assert first.signature is not None
    assert second.signature is not None
    denied = await nodes["bank"].propose(other)
    assert denied.error is not None
    assert denied.error.reason == "TWO_SPECS"
    approvals = {"bank": first.signature, "shop": second.signature}
    assert (await refusal(nodes["bank"].start(one, approvals)))[0] == "approvals"
    assert (await refusal(nodes["shop"].start(other, approvals)))[0] == "approvals"
    assert await refusal(nodes["shop"].start(one, approvals)) == ("denied", "NOT_PROPOSED")
    for party, spec in (("bank", one), ("shop", other)):
        assert two.last_job(party)["job"] == job_id(spec)
        assert two.last_job(party)["state"] == "approved"
        assert "messages" not in [line["kind"] for line in two.audit_lines(party) if line.get("job") == job_id(spec)]
        await nodes[party].cancel(job_id(spec), "the test is over")


def _bytes(spec: dict) -> bytes:
    from wire.spec.job import canonical

    return canonical(spec)
