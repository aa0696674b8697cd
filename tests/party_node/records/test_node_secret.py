"""The node's secret: kept once, for itself alone; keys differ by purpose and by everything they depend on."""

from __future__ import annotations

import hashlib
import hmac
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mpc.domains import Domain
from mpc.errors import LocalError
from party_node.config import PartyDirectory
from party_node.records.node_secret import SECRET_BYTES, NodeSecret

FIXED = NodeSecret(bytes(range(SECRET_BYTES)))


def test_the_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    directory = PartyDirectory(tmp_path / "bank-a")
    directory.create()
    first = NodeSecret.at(directory.secret).key(Domain.BOOTSTRAP)
    assert stat.S_IMODE(directory.secret.stat().st_mode) == 0o600
    assert NodeSecret.at(directory.secret).key(Domain.BOOTSTRAP) == first
    assert [path.name for path in directory.keys.iterdir()] == [directory.secret.name]
    directory.check_permissions()


def test_those_who_come_first_together_have_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            path = tmp_path / str(number)
            keys = list(pool.map(lambda _, path=path: NodeSecret.at(path).key(Domain.BOOTSTRAP), range(8)))
            assert len(set(keys)) == 1


@pytest.mark.parametrize("content", [b"", b"short", bytes(SECRET_BYTES + 1)])
def test_a_damaged_file_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "node.secret"
    path.write_bytes(content)
    with pytest.raises(LocalError) as caught:
        NodeSecret.at(path)
    assert "backup" in caught.value.advice
    assert path.read_bytes() == content


def test_keys_differ_by_purpose_and_by_where_parts_end() -> None:
    asked = [(Domain.BOOTSTRAP,), (Domain.SPLIT,), (Domain.BOOTSTRAP, b"ab"), (Domain.BOOTSTRAP, b"a", b"b"),
             (Domain.BOOTSTRAP, b"", b"ab"), (Domain.BOOTSTRAP, b"ab", b"")]
    keys = [FIXED.key(*each) for each in asked]
    assert len(set(keys)) == len(asked)
    assert FIXED.key(*asked[2]) == keys[2]
    assert NodeSecret(bytes(SECRET_BYTES)).key(*asked[2]) != keys[2]


def test_a_key_is_that_of_hkdf_written_out() -> None:
    """RFC 5869: extract with a salt of zeros, one block of expansion."""
    info = len(Domain.SPLIT).to_bytes(8, "big") + Domain.SPLIT.encode() + (2).to_bytes(8, "big") + b"ab"
    extracted = hmac.digest(bytes(32), bytes(range(SECRET_BYTES)), hashlib.sha256)
    assert FIXED.key(Domain.SPLIT, b"ab") == hmac.digest(extracted, info + b"\1", hashlib.sha256)


def test_the_secret_refuses_accidents() -> None:
    assert repr(FIXED) == "NodeSecret(...)"
    with pytest.raises(TypeError):
        pickle.dumps(FIXED)
