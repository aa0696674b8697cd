"""The party directory and its files: what is refused, by file and field."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from party_node.config import ConfigError, PartyConfig, PartyDirectory, load_toml
from wire.private_files import write_private

SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "samples"


@pytest.fixture
def directory(tmp_path: Path) -> PartyDirectory:
    directory = PartyDirectory(tmp_path / "bank-a")
    directory.create()
    write_private(directory.config_file, b'party = "bank-a"\n')
    write_private(directory.identity_key, b"key")
    return directory


def test_a_minimal_file_has_safe_defaults(directory: PartyDirectory) -> None:
    directory.check_permissions()
    config = directory.load_config()
    assert (config.party, config.approval, config.listen_port, config.doctor_port) == ("bank-a", "ask", 8443, 8444)


def test_the_sample_says_what_the_defaults_say() -> None:
    sample = load_toml(PartyConfig, SAMPLES / "party.toml", "")
    assert sample == PartyConfig(party="bank")


BAD = {
    "no party": ("", "field party: must be given"),
    "a party in capitals": ('party = "Bank"', "field party"),
    "a listen address without a port": ('party = "b1"\nlisten = "host"', "field listen"),
    "an unknown field": ('party = "b1"\nlissten = "h:1"', "field lissten: no such field"),
    "a number for a text": ("party = 5", "field party"),
    "another word for approval": ('party = "b1"\napproval = "never"', "field approval"),
    "something that is not TOML": ("party: bank", "is not TOML"),
    "a byte that is not UTF-8": (b"party = '\xff'", "cannot be read"),
}


@pytest.mark.parametrize("what", BAD)
def test_refused_with_file_and_field_when_it_holds(what: str, directory: PartyDirectory) -> None:
    content, sentence = BAD[what]
    directory.config_file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        directory.load_config()
    assert sentence in caught.value.what
    assert "party.toml" in caught.value.what
    assert caught.value.advice


def test_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        PartyDirectory(tmp_path).load_config()
    assert "init" in caught.value.advice


LOOSE: dict[str, Callable[[PartyDirectory], object]] = {
    "the directory is listable": lambda d: d.root.chmod(0o755),
    "the keys' folder is listable": lambda d: d.keys.chmod(0o750),
    "a key is readable by the group": lambda d: d.identity_key.chmod(0o640),
    "the configuration is readable by all": lambda d: d.config_file.chmod(0o604),
    "a model is readable by all": lambda d: (d.models / "m.json").touch(mode=0o644),
    "the audit log is writable by all": lambda d: (d.audit_log.touch(), d.audit_log.chmod(0o622)),
    "the state is readable by all": lambda d: d.state_db.touch(mode=0o644),
    "a key is a link": lambda d: (d.keys / "other.pem").symlink_to("/etc/hostname"),
    "a file lies deep in the models": lambda d: ((d.models / "v1").mkdir(mode=0o700),
                                                 (d.models / "v1" / "w.npz").touch(mode=0o644)),
}


@pytest.mark.parametrize("what", LOOSE)
def test_refuses_to_start_when(what: str, directory: PartyDirectory) -> None:
    old = os.umask(0)
    try:
        LOOSE[what](directory)
    finally:
        os.umask(old)
    with pytest.raises(ConfigError) as caught:
        directory.check_permissions()
    assert caught.value.advice.startswith("run: chmod") or "link" in caught.value.what


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        PartyDirectory(tmp_path / "absent").check_permissions()


def test_everything_made_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        directory = PartyDirectory(tmp_path / "bank-b")
        directory.create()
        directory.create_identity()
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.root.rglob("*")}
    assert modes == {0o700, 0o600}


def test_an_identity_is_made_once_and_read_back(directory: PartyDirectory) -> None:
    with pytest.raises(ConfigError, match="already holds"):
        directory.create_identity()
    with pytest.raises(ConfigError, match="missing or damaged"):
        directory.load_identity()
    directory.identity_key.unlink()
    assert directory.create_identity().public_hex == directory.load_identity().public_hex
