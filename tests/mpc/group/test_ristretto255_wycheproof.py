"""Wycheproof's X25519 and Ed25519 cases as statements about ristretto255, for each engine.

Both speak of the same curve. A point is multiplied by 8, which leaves the subgroup of prime order, and encoded by the
plain integers of mpc.testing.ristretto; what is then multiplied and added is mpc.group.ristretto255's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mpc.group import ristretto255
from mpc.group.ristretto255 import InvalidPoint, PointVector, Scalar
from mpc.testing import ristretto as ideal

VECTORS = Path(__file__).resolve().parents[3] / "../shared/vectors"
pytestmark = [
    pytest.mark.skipif(not VECTORS.is_dir(), reason="public test vectors are not beside the checkout"),
    pytest.mark.usefixtures("points_engine"),
]


def cases(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    groups = json.loads((VECTORS / name).read_text())["testGroups"]
    return [(one, case) for one in groups for case in one["tests"]]


def eightfold(point: ideal.Affine) -> PointVector:
    for _ in range(3):
        point = ideal.add(point, point)
    return PointVector(ideal.encode(point))


def test_x25519_is_a_multiplication_here_too() -> None:
    """Clamped, the private key is 8 k, and what is shared is k times eight times the public point, up to its sign."""
    done = refused = 0
    for _, case in cases("wycheproof_x25519_test.json"):
        private, public, shared = (
            int.from_bytes(bytes.fromhex(case[key]), "little") for key in ("private", "public", "shared"))
        point = ideal.from_montgomery(public % 2**255 % ideal.P)
        if point is None:
            continue                       # on the twist, where ristretto255 has no points
        scalar = Scalar((private % 2**254 | 2**254) // 8 % ristretto255.ORDER)
        if shared == 0:
            with pytest.raises(InvalidPoint):
                ristretto255.multiply(eightfold(point), scalar)
            refused += 1
            continue
        result = ideal.from_montgomery(shared)
        assert result is not None
        both = {ideal.encode(result), ideal.encode((-result[0] % ideal.P, result[1]))}
        assert ristretto255.multiply(eightfold(point), scalar).data in both, case["tcId"]
        done += 1
    assert done >= 200
    assert refused >= 10


def test_ed25519_signatures_hold_here_exactly_where_they_are_valid() -> None:
    """S B = R + k A, eight times over."""
    base = ideal.edwards((4 * pow(5, -1, ideal.P) % ideal.P).to_bytes(32, "little"))
    assert base is not None
    verdicts = {"valid": 0, "invalid": 0}
    for keys, case in cases("wycheproof_ed25519_test.json"):
        public, signature = bytes.fromhex(keys["publicKey"]["pk"]), bytes.fromhex(case["sig"])
        point, commitment = ideal.edwards(public), ideal.edwards(signature[:32].ljust(32, b"\0"))
        response = int.from_bytes(signature[32:], "little")
        assert point is not None
        if len(signature) != 64 or commitment is None or not 0 < response < ristretto255.ORDER:
            assert case["result"] == "invalid", case["tcId"]
            continue
        digest = hashlib.sha512(signature[:32] + public + bytes.fromhex(case["msg"])).digest()
        challenge = Scalar(int.from_bytes(digest, "little") % ristretto255.ORDER)
        left = ristretto255.multiply(eightfold(base), Scalar(response))
        right = ristretto255.add(eightfold(commitment), ristretto255.multiply(eightfold(point), challenge))
        assert (left == right) is (case["result"] == "valid"), case["tcId"]
        verdicts[case["result"]] += 1
    assert verdicts["valid"] >= 80
    assert verdicts["invalid"] >= 10
