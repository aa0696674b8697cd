"""What people read when something is wrong before or at the start of a job: one test per case, real processes.

Each case demands the message on the right side, whose side it is, the command that mends it, the exit code, the
time, and that nothing is left behind where nothing ran.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coordinator.config import CoordinatorDirectory
from joint_risk.local_consortium import COORDINATOR
from party_node.config import PartyDirectory
from tests import canaries
from tests.e2e.scene import COMMON_OF_TWO, LABEL, Ran, Scene, table
from wire import certificates
from wire.private_files import write_private

QUICK_S = 10.0  # start of the interpreter included
LAST_YEAR = datetime(2025, 3, 14, 12, 0, tzinfo=UTC)
TOO_FEW = 97


def said(ran: Ran, code: int, whose: str, *words: str) -> None:
    """The command failed with `code`, in time, and its text and envelope name the side and all `words`."""
    assert ran.code == code, ran.text
    assert ran.seconds < QUICK_S
    assert ran.error["whose"] == whose, ran.text
    assert ran.error["advice"], ran.text
    for word in words:
        assert word in ran.text, ran.text
        assert word in str(ran.error)


def traces(scene: Scene) -> dict[str, tuple[int, list[str], set[str]]]:
    """Per party: audit lines, jobs, files. What a case that ran nothing must not change."""
    return {
        party.id: (len(scene.audit_lines(party.id)), scene.jobs(party.id),
                   {str(p.relative_to(scene.home)) for p in scene.directory(party.id).rglob("*")
                    if not p.name.endswith(("-wal", "-shm"))})
        for party in scene.parties
    }


# ---------------------------------------------------------------- a peer that is not there


def test_a_peer_that_is_offline_is_named_with_the_command_to_start_it(two: Scene) -> None:
    with two.without("shop"):
        before = traces(two)
        said(two.run(two.job()), 2, "shop", "shop", "process is down", "party-node run")
        said(two.operator("bank", "doctor", "--peer", "shop"), 2, "shop", "process is down", "party-node run")
        assert traces(two) == before
    assert two.run(two.job()).data["common"] == COMMON_OF_TWO


# ---------------------------------------------------------------- certificates


@contextmanager
def certificate(folder: Path, party: str, until: datetime) -> Iterator[str]:
    """`party` holds a certificate of its own CA that ends at `until`; gives its serial number."""
    files = [folder / certificates.CERTIFICATE_FILE, folder / certificates.KEY_FILE]
    before = [file.read_bytes() for file in files]
    authority = certificates.Issued(
        (folder / certificates.CA_FILE).read_bytes(), (folder / certificates.CA_KEY_FILE).read_bytes()
    )
    short = certificates.issue(authority, party, now=until - timedelta(days=1), days=1)
    write_private(files[0], short.certificate_pem)
    write_private(files[1], short.key_pem)
    try:
        yield f"{certificates.load(folder, party) and _serial(short.certificate_pem):x}"
    finally:
        for file, data in zip(files, before, strict=True):
            write_private(file, data)


def _serial(certificate_pem: bytes) -> int:
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate_pem).serial_number


def test_a_node_with_an_expired_certificate_does_not_start_and_says_how_to_renew(two: Scene) -> None:
    folder = PartyDirectory(two.directory("shop")).tls
    with two.without("shop"), certificate(folder, "shop", LAST_YEAR) as serial:
        ran = two.node_process("shop", "run")
        said(ran, 2, "shop", serial, "expired on 2025-03-14", "cert renew")
        said(two.operator("shop", "doctor"), 4, "shop", serial, "expired on 2025-03-14", "cert renew")
        # the job of the others: not dialled by the one whose certificate it is
        said(two.operator("shop", "doctor", "--peer", "bank"), 2, "shop", "not dialled", serial, "cert renew")


def test_a_certificate_that_expires_while_the_node_runs_is_told_to_the_coordinator_and_renewed_by_its_owner_alone(
    two: Scene,
) -> None:
    directory = PartyDirectory(two.directory("shop"))
    two.stop_one("shop")
    ends = datetime.now(UTC) + timedelta(seconds=10)  # time enough to start
    with certificate(directory.tls, "shop", ends) as serial:
        two.start("shop")
        time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds() + 1.0))
        day = f"expired on {ends:%Y-%m-%d}"
        said(two.run(two.job()), 2, "shop", serial, day, "on shop: party-node cert renew")
        said(two.operator("bank", "doctor", "--peer", "shop"), 2, "shop", serial, day, "on shop: party-node cert renew")
        assert two.operator("shop", "cert", "renew").data["serial"] != serial
        two.stop_one("shop")
        two.start("shop")
        assert two.run(two.job()).data["common"] == COMMON_OF_TWO
        two.stop_one("shop")
    two.start("shop")


def test_a_coordinator_with_an_expired_certificate_dials_nobody(two: Scene) -> None:
    before = traces(two)
    folder = CoordinatorDirectory(two.directory(COORDINATOR)).root / "tls"
    with certificate(folder, COORDINATOR, LAST_YEAR) as serial:
        said(two.run(two.job()), 2, COORDINATOR, "not dialled", serial, "expired on 2025-03-14",
             "coordinator cert renew")
        assert traces(two) == before
        assert two.coordinator("cert", "renew").data["serial"] != serial
        assert two.coordinator("plan", str(next(two.home.glob("job-*.toml"))), "--no-rehearsal").code == 0


@contextmanager
def other_ca(scene: Scene, at: str, of: str) -> Iterator[str]:
    """The consortium file of `at` pins another CA for `of`; gives the fingerprint of the CA that `of` really has."""
    own = scene.directory(of) / "tls" / certificates.CA_FILE
    real, other = own.read_bytes(), certificates.create_authority(of).certificate_pem
    file = scene.directory(at) / "consortium.toml"
    with scene.changed(file):
        text = file.read_text()
        file.write_text(text.replace(real.decode(), other.decode()).replace(
            certificates.fingerprint(real), certificates.fingerprint(other)))
        scene.stop_one(at)
        scene.start(at)
        yield certificates.fingerprint(real)
    scene.stop_one(at)
    scene.start(at)


def test_a_peer_that_does_not_know_our_ca_is_told_by_its_fingerprint_with_the_command_that_they_run(two: Scene) -> None:
    with other_ca(two, "shop", "bank") as fingerprint:
        said(two.run(two.job()), 2, "shop", "shop", "CA of bank", fingerprint, "on shop: party-node join FILE")
        said(two.operator("bank", "doctor", "--peer", "shop"), 2, "shop", fingerprint, "on shop: party-node join FILE")
        row = two.ended("bank")
        assert row["state"] == "failed"
        assert fingerprint in row["error"]
        assert "CA of bank" in two.ended("shop")["error"], "the side that has to act reads it too"


def test_a_node_that_does_not_know_the_ca_of_the_coordinator_is_told_likewise(two: Scene) -> None:
    before = {party.id: two.jobs(party.id) for party in two.parties}
    with other_ca(two, "shop", COORDINATOR) as fingerprint:
        said(two.run(two.job()), 2, "shop", f"CA of {COORDINATOR}", fingerprint, "on shop: party-node join FILE")
        assert {party.id: two.jobs(party.id) for party in two.parties} == before


# ---------------------------------------------------------------- found by comparing descriptions


def test_ids_of_different_formats_are_found_before_anything_is_sent(two: Scene) -> None:
    digits = [f"47{k:08d}" for k in range(40, 300)]
    assert two.offer("shop", "phones", table("shop", customer=digits)).code == 0
    before = traces(two)
    ran = two.run(two.job({"shop": "phones"}))
    said(ran, 4, "shop", "the ids of bank and shop have different formats", "Nothing was sent")
    assert traces(two) == before


def test_a_label_column_that_is_missing_comes_with_the_one_that_was_meant(two: Scene) -> None:
    before = traces(two)
    wrong = {"party": "bank", "column": "dpd90", "positive": canaries.POSITIVE}
    said(two.run(two.job(label=wrong)), 4, "bank", "no label column `dpd90`", f"did you mean `{LABEL}`?")
    assert traces(two) == before
    ran = two.offer("bank", "misnamed", table("bank"), label="dpd90_12")
    said(ran, 4, "bank", "no column `dpd90_12`", f"did you mean `{LABEL}`?")


def test_a_column_that_is_not_offered_comes_with_the_one_that_was_meant(two: Scene) -> None:
    parties = [{"id": "bank", "dataset": "table"}, {"id": "shop", "dataset": "table", "columns": ["baskets"]}]
    said(two.run(two.job(party=parties)), 4, "shop", "no column `baskets`", "did you mean `basket`?")


# ---------------------------------------------------------------- the count-only phase


def test_too_few_in_common_ends_in_the_count_only_phase_and_the_count_is_nowhere(two: Scene) -> None:
    start = 260 - TOO_FEW  # bank has 0..260
    assert two.offer("shop", "distant", table("shop", start, 400 - 1)).code == 0
    before = {party.id: len(two.audit_lines(party.id)) for party in two.parties}
    ran = two.run(two.job({"shop": "distant"}))
    assert ran.code == 6, ran.text
    assert ran.seconds < QUICK_S
    assert ran.error["reason"] == "TOO_FEW_COMMON"
    assert "id column" in ran.error["advice"]
    number = re.compile(rf"(?<![\w.]){TOO_FEW}(?![\w.])")
    heard = [ran.text, str(ran.envelope)]
    for party in two.parties:
        row = two.ended(party.id)
        assert row["state"] == "failed"
        assert "too few customers in common" in row["error"]
        audit = two.audit_lines(party.id)[before[party.id]:]
        heard += [row["error"], PartyDirectory(two.directory(party.id)).log_file.read_text()]
        heard += [str(line.get("fields", {})) for line in audit]
        assert not [line for line in audit if line.get("fields", {}).get("stage") in ("prepare", "train")]
        assert not [name for name in two.models(party.id) if row["job"] in name]
    assert not [text for text in heard if number.search(text)]


def test_a_set_that_differs_from_an_earlier_one_by_a_few_customers_is_refused_without_a_number(two: Scene) -> None:
    guarded = {"policy": {"minimum_difference": 20}}
    for name, stop in (("first", 300), ("second", 255)):
        assert two.offer("shop", name, table("shop", 40, stop), **guarded).code == 0
    assert two.offer("bank", "guarded", table("bank"), **guarded).code == 0
    assert two.run(two.job({"bank": "guarded", "shop": "first"})).data["common"] == 220
    ran = two.run(two.job({"bank": "guarded", "shop": "second"}))
    said(ran, 6, "bank", "policy.minimum_difference", "differ from an earlier job's by only a few")
    assert not re.search(r"\b(215|220|5)\b", str(ran.error))


# ---------------------------------------------------------------- policy and persons


def test_a_denied_job_names_the_line_of_the_policy_and_leaves_one_audit_line_and_nothing_else(two: Scene) -> None:
    assert two.offer("shop", "strict", table("shop"), policy={"key_bits": 3072}).code == 0
    (lines, jobs, files), budgets = traces(two)["shop"], two.operator("shop", "dataset", "list").data
    ran = two.run(two.job({"shop": "strict"}))
    said(ran, 6, "shop", "policy.key_bits", "2048", "3072", "nothing ran")
    fresh = two.audit_lines("shop")[lines:]
    assert len(fresh) == 1
    assert fresh[0]["fields"] == fresh[0]["fields"] | {
        "coordinator": COORDINATOR, "verdict": "deny", "line": "policy.key_bits", "code": "KEY_BITS"}
    assert traces(two)["shop"] == (lines + 1, jobs, files)
    assert two.operator("shop", "dataset", "list").data == budgets
    assert two.last_job("bank")["state"] == "cancelled"
    assert "shop" in two.last_job("bank")["error"], "bank had signed, and reads who denied"


@pytest.fixture
def asking(two: Scene) -> Scene:
    """shop has a dataset for which a person decides."""
    assert two.offer("shop", "asks", table("shop"), approval="ask").code == 0
    return two


def test_a_job_waits_for_a_person_and_runs_once_that_person_has_approved(asking: Scene) -> None:
    launch = asking.begin(asking.job({"shop": "asks"}))
    launch.until("waiting for a person at shop: party-node approve")
    assert asking.last_job("shop")["state"] == "pending"
    approved = asking.node_process("shop", "approve", launch.job(), "--yes")
    assert "used here, in dataset asks: basket, visits" in approved.text
    assert launch.wait().data["common"] == COMMON_OF_TWO
    assert asking.last_job("shop")["state"] == "done"


def test_a_person_who_denies_ends_the_job_with_exit_6(asking: Scene) -> None:
    launch = asking.begin(asking.job({"shop": "asks"}))
    launch.until("waiting for a person at shop")
    assert asking.operator("shop", "deny", launch.job()).code == 0
    said(launch.wait(), 6, "shop", "a person at shop denied the job")
    assert asking.last_job("shop")["state"] == "denied"


def test_a_person_who_does_not_answer_ends_the_job_with_exit_3(asking: Scene) -> None:
    ran = asking.run(asking.job({"shop": "asks"}), "--wait-approval", "2")
    said(ran, 3, "shop", "nobody at shop approved the job in 2 s", "party-node approve")
    assert asking.last_job("shop")["state"] == "cancelled"
    late = asking.operator("shop", "approve", asking.last_job("shop")["job"], "--yes")
    assert late.code == 4
    assert "cancelled" in late.error["what"]
