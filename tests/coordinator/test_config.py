"""The coordinator's directory: made private, refused when it is not, and never made twice."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from coordinator.config import CoordinatorDirectory
from mpc.errors import LocalError
from wire import certificates
from wire.signing import Identity


@pytest.fixture
def directory(tmp_path: Path) -> CoordinatorDirectory:
    made = CoordinatorDirectory(tmp_path / "conduct")
    made.create("conductor")
    return made


def consortium(directory: CoordinatorDirectory, coordinator: str | None = None) -> None:
    ca = certificates.create_authority("bank").certificate_pem
    entry = (f'[[party]]\nid = "bank"\naddress = "localhost:1"\ndoctor = "localhost:2"\n'
             f'ca_fingerprint = "{certificates.fingerprint(ca)}"\nidentity = "{Identity.generate().public_hex}"\n'
             f'ca = """\n{ca.decode()}"""\n')
    text = coordinator or directory.entry_file.read_text()
    directory.consortium_file.write_text(f"version = 1\n{text}\n{entry}")


def test_what_is_made_is_private_and_its_entry_holds_no_secret(directory: CoordinatorDirectory) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in directory.root.rglob("*")}
    assert set(modes.values()) == {0o700, 0o600}
    entry = tomllib.loads(directory.entry_file.read_text())["coordinator"]
    assert entry["id"] == "conductor"
    assert entry["ca_fingerprint"] == certificates.fingerprint(entry["ca"].encode())
    assert "PRIVATE" not in directory.entry_file.read_text()


def test_it_loads_once_the_consortium_names_it(directory: CoordinatorDirectory) -> None:
    consortium(directory)
    name, found, identity = directory.load()
    assert (name, found.coordinator.id, identity.party) == ("conductor", "conductor", "conductor")


def test_a_second_init_changes_nothing(directory: CoordinatorDirectory) -> None:
    before = directory.identity_key.read_bytes()
    with pytest.raises(LocalError, match="already holds the coordinator conductor"):
        directory.create("other")
    assert directory.identity_key.read_bytes() == before


def test_a_directory_without_a_coordinator_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"coordinator --dir .* init"):
        CoordinatorDirectory(tmp_path).load()


def test_a_directory_open_to_others_is_refused(directory: CoordinatorDirectory) -> None:
    consortium(directory)
    directory.root.chmod(0o750)
    with pytest.raises(LocalError, match="chmod 700"):
        directory.load()


def test_a_consortium_of_another_coordinator_is_refused(directory: CoordinatorDirectory, tmp_path: Path) -> None:
    other = CoordinatorDirectory(tmp_path / "other")
    other.create("rival")
    consortium(directory, other.entry_file.read_text())
    with pytest.raises(LocalError, match="names rival as coordinator, not conductor"):
        directory.load()


def test_a_missing_consortium_file_is_named(directory: CoordinatorDirectory) -> None:
    with pytest.raises(LocalError, match="consortium file cannot be read"):
        directory.load()
