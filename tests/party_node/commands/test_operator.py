"""The operator's commands: exit codes, one envelope on stdout, text on stderr, and never a traceback."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mpc.domains import Domain
from mpc.errors import LocalError
from mpc.protocols import PROTOCOLS
from party_node.commands.operator import run_command
from party_node.config import PartyDirectory
from party_node.consent import datasets
from party_node.consent.gate import Consent
from party_node.records.audit import AuditLog
from party_node.records.store import JobState, Store
from wire import certificates
from wire.errors import Denied, Overdue, Unreachable
from wire.signing import Identity, verify
from wire.spec.job import JobSpec, encode_spec, job_id

CANARY = "canary-1b9e77d0"
DATASET = """
name = "loans"
source = "loans.csv"
id = "customer"
label = "bad"
label_positive = "1"
offered = ["income", "age"]
[policy]
purposes = ["credit risk"]
partners = ["shop"]
coordinators = ["conductor"]
use_label = true
minimum_rows = 50
reveal = REVEALED
release = ["metrics", "curves", "row_counts", "timings"]
[policy.budgets]
feature_equations = 100
""".replace("REVEALED", json.dumps([line.code for spec in PROTOCOLS.values() for line in spec.ledger
                                    if line.kind == "revealed"]))
ISSUE = certificates.issue
LAST_YEAR = datetime.now(UTC) - timedelta(days=365)


@dataclass
class Desk:
    """One operator's terminal."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str, who: str = "bank-a") -> tuple[int, dict[str, Any], str]:
        """(exit code, envelope, stderr) of one command with --json."""
        code = run_command(["--dir", str(self.root / who), *words, "--json"])
        out, err = self.capsys.readouterr()
        assert "Traceback" not in out + err
        assert out.count("\n") == 1, out
        envelope = json.loads(out)
        assert envelope["code"] == code
        assert envelope["ok"] == (code == 0)
        return code, envelope, err

    def directory(self, who: str = "bank-a") -> PartyDirectory:
        return PartyDirectory(self.root / who)

    def consortium(self, change: Callable[[str], str] = lambda text: text) -> Path:
        """The consortium file of bank-a and shop, with a coordinator."""
        ca = certificates.create_authority("conductor").certificate_pem
        head = (f'version = 1\n[coordinator]\nid = "conductor"\nca_fingerprint = "{certificates.fingerprint(ca)}"\n'
                f'identity = "{Identity.generate().public_hex}"\nca = """\n{ca.decode()}"""\n')
        entries = [self.directory(who).entry_file.read_text() for who in ("bank-a", "shop")]
        path = self.root / "consortium.toml"
        path.write_text(change(head + "\n".join(entries)))
        return path

    def spec(self, purpose: str = "credit risk") -> bytes:
        def party(who: str, role: str, dataset: str, digest: str, columns: list[str]) -> dict[str, Any]:
            return {"id": who, "role": role, "identity": self.directory(who).load_identity().public_hex,
                    "dataset": dataset, "dataset_digest": digest, "columns": columns, "id_columns": ["customer"]}

        store = Store(self.directory().state_db)
        kept = datasets.find(store, "loans")
        store.close()
        digest = kept.digest if kept else "0" * 64
        now = int(time.time())
        return encode_spec(JobSpec.model_validate({
            "purpose": purpose, "nonce": "1" * 64, "valid_from": now - 60, "valid_until": now + 3600,
            "protocols": {name: protocol.version for name, protocol in PROTOCOLS.items()},
            "parties": [party("bank-a", "label_holder", "loans", digest, ["income", "age"]),
                        party("shop", "feature_holder", "orders", "0" * 64, ["basket"])],
            "label": {"column": "bad"},
            "reveal": sorted({line.code for protocol in PROTOCOLS.values() for line in protocol.ledger}),
        }))

    def propose(self, spec: bytes) -> Any:
        """What the daemon does when the coordinator proposes."""
        directory = self.directory()
        store, audit = Store(directory.state_db), AuditLog(directory.audit_log, "bank-a")
        try:
            identities = {who: self.directory(who).load_identity().public_hex for who in ("bank-a", "shop")}
            return Consent("bank-a", directory.load_identity(), store, audit, identities, PROTOCOLS).propose(
                spec, "conductor")
        finally:
            audit.close()
            store.close()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    desk = Desk(tmp_path, capsys)
    for who in ("bank-a", "shop"):
        code, *_ = desk("init", "--party", who, "--listen", "127.0.0.1:0", "--doctor-listen", "127.0.0.1:0",
                        "--address", "127.0.0.1:1", "--doctor-address", "127.0.0.1:1", who=who)
        assert code == 0
    return desk


@pytest.fixture
def joined(desk: Desk) -> Desk:
    """Joined, with a registered dataset that wants a person."""
    assert desk("join", str(desk.consortium()))[0] == 0
    rows = [f"{CANARY}{n},{n},{n % 60},{n % 2}" for n in range(200)]
    (desk.root / "loans.csv").write_text("\n".join(["customer,income,age,bad", *rows]) + "\n")
    (desk.root / "loans.toml").write_text(DATASET)
    code, envelope, text = desk("dataset", "register", str(desk.root / "loans.toml"))
    assert code == 0
    assert "nothing has left this machine" in text
    assert CANARY not in text + json.dumps(envelope)
    return desk


def test_init_prints_the_fingerprints_and_makes_a_private_directory(desk: Desk) -> None:
    code, envelope, text = desk("init", "--party", "third", who="third")
    assert code == 0
    identity = desk.directory("third").load_identity()
    assert envelope["data"]["fingerprints"]["identity"] == certificates.key_fingerprint(identity.public_hex)
    assert envelope["data"]["fingerprints"]["ca"] in text
    modes = {stat.S_IMODE(path.stat().st_mode) for path in desk.directory("third").root.rglob("*")}
    assert modes == {0o700, 0o600}
    assert "PRIVATE" not in desk.directory("third").entry_file.read_text()


def test_init_never_overwrites(desk: Desk) -> None:
    before = desk.directory().load_identity().public_hex
    code, envelope, _ = desk("init", "--party", "bank-a")
    assert code == 4
    assert "already holds" in envelope["error"]["what"]
    assert desk.directory().load_identity().public_hex == before


def test_the_five_commands_of_an_operator(joined: Desk) -> None:
    code, envelope, text = joined("doctor")
    assert code == 0, text
    assert {check["name"] for check in envelope["data"]["checks"]} >= {
        "permissions", "disk", "certificate", "consortium", "clock", "speed", "state and audit"}
    code, envelope, text = joined("dataset", "list")
    assert envelope["data"]["datasets"][0]["budgets"]["feature_equations"] == {"spent": 0, "limit": 100}
    assert joined("jobs")[1]["data"] == {"jobs": []}
    code, envelope, _ = joined("audit", "verify")
    assert (code, envelope["data"]["lines"]) == (0, 2)


def test_a_mock_table_is_written_for_partners(joined: Desk) -> None:
    out = joined.root / "mock.csv"
    code, envelope, text = joined("dataset", "mock", "loans", "--out", str(out), "--rows", "50")
    assert code == 0
    assert "nothing was read" in text
    assert envelope["data"]["rows"] == 50
    assert out.read_text().startswith('"customer"')
    assert CANARY not in out.read_text()
    code, envelope, _ = joined("dataset", "mock", "loan", "--out", str(joined.root / "other.csv"))
    assert (code, envelope["error"]["what"]) == (4, "no dataset `loan` is registered")


def test_a_person_sees_what_leaves_and_signs(joined: Desk) -> None:
    spec = joined.spec()
    assert joined.propose(spec).pending
    code, envelope, text = joined("approve", job_id(spec)[:12], "--yes")
    assert code == 0, text
    for told in ("purpose: credit risk", "income, age", "shop", "the label bad is used; it is never sent",
                 "score.sum, to the label holder", "masked values"):
        assert told in text
    signature = joined.propose(spec).signature
    assert signature is not None
    assert envelope["data"]["approved"] is True
    (job,) = joined("jobs")[1]["data"]["jobs"]
    assert (job["job"], job["state"]) == (job_id(spec), "approved")


def test_a_job_of_another_release_is_listed_and_expires_and_nothing_crashes(joined: Desk) -> None:
    raw = json.loads(joined.spec())
    older = {key: value for key, value in raw.items() if key != "scale"}          # a field of a later release
    newer = raw | {"nonce": "7" * 64, "novelty": True}
    store = Store(joined.directory().state_db)
    for number, spec in enumerate((older, newer)):
        store.add_job(f"{number}" * 64, f"n{number}", json.dumps(spec).encode(), "conductor")
    store.close()
    code, envelope, text = joined("jobs")
    assert code == 0, text
    assert [job["purpose"] for job in envelope["data"]["jobs"]] == ["credit risk", "agreed under another release"]
    assert joined.propose(joined.spec()).pending
    states = {job["job"][:1]: job["state"] for job in joined("jobs")[1]["data"]["jobs"]}
    assert states["1"] == "cancelled"


def test_without_an_answer_nothing_is_signed(joined: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = joined.spec()
    joined.propose(spec)
    monkeypatch.setattr("party_node.commands.operator.typer.confirm", lambda *_, **__: False)
    code, envelope, text = joined("approve", job_id(spec))
    assert code == 4
    assert "neither approved nor denied" in envelope["error"]["what"]
    assert text.index("purpose:") < text.index("neither")
    assert joined.propose(spec).pending


def test_a_person_denies(joined: Desk) -> None:
    spec = joined.spec()
    joined.propose(spec)
    assert joined("deny", job_id(spec))[0] == 0
    assert joined.propose(spec).pending is False
    assert joined("jobs")[1]["data"]["jobs"][0]["state"] == JobState.DENIED.value


def test_a_policy_that_tightened_meanwhile_ends_in_exit_6(joined: Desk) -> None:
    spec = joined.spec()
    joined.propose(spec)
    (joined.root / "loans.toml").write_text(DATASET.replace('"credit risk"', '"other"'))
    assert joined("dataset", "register", str(joined.root / "loans.toml"))[0] == 0
    code, envelope, _ = joined("approve", job_id(spec), "--yes")
    assert code == 6
    assert "policy.purposes" in envelope["error"]["what"]
    assert envelope["error"]["whose"] == "bank-a"


def test_a_purpose_cannot_drive_the_terminal(joined: Desk) -> None:
    purpose = "credit\x1b[2Jrisk"
    (joined.root / "loans.toml").write_text(DATASET.replace('"credit risk"', '"credit\\u001b[2Jrisk"'))
    joined("dataset", "register", str(joined.root / "loans.toml"))
    spec = joined.spec(purpose)
    assert joined.propose(spec).pending
    text = joined("jobs")[2] + joined("approve", job_id(spec), "--yes")[2]
    assert "\x1b[2J" not in text


JOINS: dict[str, tuple[Callable[[str, Desk], str], str]] = {
    "another identity key for us": (lambda text, desk: text.replace(
        desk.directory().load_identity().public_hex, Identity.generate().public_hex), "another identity key"),
    "no entry for us": (lambda text, desk: text.replace('id = "bank-a"', 'id = "bank-x"'), "not in the consortium"),
    "a fingerprint that is not the CA's": (lambda text, desk: text.replace(
        'ca_fingerprint = "', 'ca_fingerprint = "0', 1), "fingerprint"),
    "no TOML": (lambda text, desk: "consortium: yes", "not TOML"),
}


@pytest.mark.parametrize("what", JOINS)
def test_a_consortium_file_is_not_installed_when_it_holds(what: str, desk: Desk) -> None:
    change, sentence = JOINS[what]
    path = desk.consortium(lambda text: change(text, desk))
    code, envelope, _ = desk("join", str(path))
    assert code == 4
    assert sentence in envelope["error"]["what"]
    assert not (desk.directory().root / "consortium.toml").exists()


def test_a_consortium_file_with_another_ca_of_ours_is_not_installed(desk: Desk) -> None:
    ca = certificates.load(desk.directory().tls, "bank-a").ca_pem
    other = certificates.create_authority("bank-a").certificate_pem
    path = desk.consortium(lambda text: text.replace(ca.decode(), other.decode()).replace(
        certificates.fingerprint(ca), certificates.fingerprint(other)))
    assert "another CA" in desk("join", str(path))[1]["error"]["what"]


def test_a_peer_that_is_down_is_named_with_exit_2(joined: Desk) -> None:
    with socket.socket() as taken:  # an address at which surely nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        file = joined.directory().root / "consortium.toml"
        file.write_text(file.read_text().replace("127.0.0.1:1", f"127.0.0.1:{port}"))
        code, envelope, _ = joined("doctor", "--peer", "shop")
    assert code == 2
    assert "process is down" in envelope["error"]["what"]
    assert envelope["error"]["whose"] == "shop"
    assert envelope["error"]["advice"]


def test_an_expired_certificate_is_found_and_renewed(joined: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("wire.certificates.issue",
                      lambda authority, party, **_: ISSUE(authority, party, now=LAST_YEAR, days=1))
        assert joined("cert", "renew")[0] == 2
    code, envelope, _ = joined("doctor", "--peer", "shop")
    assert code == 2
    assert "not dialled" in envelope["error"]["what"]
    assert "cert renew" in envelope["error"]["advice"]
    code, envelope, _ = joined("cert", "renew")
    assert code == 0
    assert joined("doctor")[0] == 0


def test_a_loose_directory_is_refused_by_every_command_that_uses_it(joined: Desk) -> None:
    joined.directory().keys.chmod(0o755)
    for words in (("jobs",), ("dataset", "list"), ("audit", "verify"), ("cert", "renew"), ("run",), ("doctor",)):
        code, envelope, _ = joined(*words)
        assert code == 4, words
        assert "chmod 700" in envelope["error"]["advice"]


def test_a_bad_audit_line_is_named(joined: Desk) -> None:
    log = joined.directory().audit_log
    log.write_bytes(log.read_bytes().replace(b"loans", b"lands"))
    code, envelope, _ = joined("audit", "verify")
    assert code != 0
    assert "line 2" in envelope["error"]["what"]


WRONG_INPUT = {
    "no such command": ["frobnicate"],
    "an option that does not exist": ["jobs", "--fast"],
    "a missing argument": ["approve"],
    "a party id in capitals": ["init", "--party", "BANK"],
    "an address without a port": ["init", "--party", "b1", "--listen", "here"],
    "a directory without a party": ["jobs"],
    "a job that is not known": ["approve", "abcdef"],
    "a dataset file that is not there": ["dataset", "register", "absent.toml"],
    "a consortium file that is not there": ["join", "absent.toml"],
}


@pytest.mark.parametrize("what", WRONG_INPUT)
def test_wrong_input_ends_in_exit_4_with_advice(what: str, desk: Desk) -> None:
    who = "nobody" if "without a party" in what or "init" in WRONG_INPUT[what] else "bank-a"
    code, envelope, text = desk(*WRONG_INPUT[what], who=who)
    assert code == 4
    assert envelope["error"]["code"] == "wrong-input"
    assert envelope["error"]["what"] in text


ENDINGS = {
    "a bug": (ZeroDivisionError("secret"), 5),
    "a policy denial": (Denied("no", whose="bank-a"), 6),
    "nobody there": (Unreachable("gone", whose="shop"), 2),
    "no answer": (Overdue("late", whose="shop"), 3),
    "wrong input": (LocalError("bad", "mend"), 4),
    "Ctrl-C": (KeyboardInterrupt(), 1),
    "a full disk": (OSError(28, "No space left on device", "state.db"), 4),
}


@pytest.mark.parametrize("what", ENDINGS)
def test_each_ending_has_its_exit_code(what: str, joined: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    error, code = ENDINGS[what]

    async def serve(directory: PartyDirectory, ready_file: Path | None) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "party_node.daemon.node", types.SimpleNamespace(serve=serve))
    got, envelope, _ = joined("run")
    assert got == code
    assert set(envelope["error"]) >= {"code", "what", "whose", "advice"}


def test_a_bug_shows_a_reference_and_the_log_has_the_traceback(joined: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the secret text")

    monkeypatch.setattr("party_node.consent.registration.prepare", broken)
    code, envelope, text = joined("dataset", "register", "x.toml")
    assert code == 5
    log = joined.directory().log_file
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    reference = envelope["error"]["what"].rpartition("(")[2].rstrip(")")
    assert f"bug {reference}" in log.read_text()
    assert "ZeroDivisionError" in log.read_text()
    assert "secret text" not in text + json.dumps(envelope)


def test_run_hands_over_to_the_daemon(joined: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def serve(directory: PartyDirectory, ready_file: Path | None) -> None:
        await asyncio.sleep(0)
        seen.extend([directory.root, ready_file])

    monkeypatch.setitem(sys.modules, "party_node.daemon.node", types.SimpleNamespace(serve=serve))
    code, _, _ = joined("run", "--ready-file", "ready.json")
    assert (code, seen) == (0, [joined.directory().root, Path("ready.json")])


def test_the_installed_command_answers_help_and_errors(tmp_path: Path) -> None:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "party_node", "--dir", str(tmp_path / "p"), *words],
                              capture_output=True, text=True, timeout=60, check=False,
                              cwd=Path(__file__).resolve().parents[3], env={**os.environ, "TERM": "dumb"})

    shown = call("--help")
    assert shown.returncode == 0
    for name in ("init", "doctor", "join", "dataset", "run", "approve", "jobs", "audit", "cert"):
        assert name in shown.stdout
    failed = call("jobs")
    assert (failed.returncode, failed.stdout) == (4, "")
    assert "does not exist" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_approval_by_command_is_a_signature_over_the_job(joined: Desk) -> None:
    spec = joined.spec()
    joined.propose(spec)
    joined("approve", job_id(spec), "--yes")
    signature = joined.propose(spec).signature
    message = f"{job_id(spec)}\0bank-a".encode()
    assert verify(joined.directory().load_identity().public_hex, Domain.JOB_APPROVAL, message, signature)
