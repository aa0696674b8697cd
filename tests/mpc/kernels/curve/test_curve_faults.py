"""Planted faults in the lanes' code, each of which has to show; and that a scalar steers neither branch nor address."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache

import pytest
from llvmlite import ir

from mpc.kernels import sodium
from mpc.kernels.compiling.library import Library, any_with, compiled
from mpc.kernels.curve import batches as curve
from mpc.kernels.curve import field
from mpc.kernels.curve.field import LIMBS, MASK, PRIME, Field
from mpc.kernels.curve.loops import Loops
from mpc.kernels.simd.emitter import LANES
from mpc.kernels.simd.forms import Ifma
from tests.mpc.group.test_ristretto255 import REFUSED
from tests.mpc.kernels.curve.test_curve import HALVES, ORDER, each, le, mapped

pytestmark = pytest.mark.skipif(not curve.available(), reason="this processor has no AVX512-IFMA")


def test_a_scalar_reaches_vectors_only_and_no_condition_of_a_branch() -> None:
    functions = _as_it_is().split("\ndefine ")[1:]
    bodies = [function for function in functions if re.match(r'void @"multiply', function)]
    assert len(bodies) == 2
    for body in bodies:
        loaded = re.findall(r"(%\S+) = load i64", body)
        assert len(loaded) == 1, "the digits are the only single words that are read"
        uses = [line for line in body.splitlines() if re.search(re.escape(loaded[0]) + r"(?![\w.])", line)]
        assert [bool(re.search(r"= load i64|= insertelement", line)) for line in uses] == [True, True]
    for function in functions:
        assert "select i1" not in function
        assert set(re.findall(r"icmp (\w+) i64", function)) <= {"ult"}      # ends of loops


# ---------------------------------------------------------------- planted faults


def _agrees() -> bool:
    """Whether points, hostile bytes and scalars of all kinds give what libsodium gives."""
    uniform = b"".join(one + two for one in HALVES[:6] for two in HALVES[6:12]) + random.Random(1).randbytes(64 * 60)
    points = sodium.from_uniform(uniform)
    hostile = [bytes.fromhex(text) for text in REFUSED.values()] + [le(PRIME + k) for k in range(19)]
    good = b"".join(point for point in each(points) if any(point))
    return (
        mapped(uniform) == points
        and all(not curve.are_elements(good[:96] + bad) for bad in hostile)
        and all(curve.multiply(good, le(k)) == sodium.multiply(good, le(k)) for k in (1, int("9f" * 31, 16), ORDER - 1))
    )


def _text() -> str:
    module = ir.Module("curve")
    Loops(module)
    return str(module)


@cache
def _as_it_is() -> str:
    """The module without a fault; for tests that change its text, not its emitter."""
    return _text()


def _body(text: str, name: str) -> tuple[int, int]:
    """Where function `name` begins and ends."""
    start = text.index(f'define internal void @"{name}"')
    return start, text.index("\n}", start)


def _conditions_dropped(name: str) -> Iterator[str]:
    """The module with one operand of one `and` or `or` of conditions in function `name` replaced by the other."""
    text = _as_it_is()
    start, stop = _body(text, name)
    for found in re.finditer(r"= (and|or) <8 x i1> (%\S+), (%\S+)\n", text[start:stop]):
        operation, left, right = found.groups()
        for kept in (left, right):
            line = f"= {operation} <8 x i1> {kept}, {kept}\n"
            yield text[: start + found.start()] + line + text[start + found.end() :]


def _conditions_ignored(name: str) -> Iterator[str]:
    """The module with one condition that selects in function `name` never true."""
    text = _as_it_is()
    start, stop = _body(text, name)
    for condition in dict.fromkeys(re.findall(r"select  ?<8 x i1> (%\S+),", text[start:stop])):
        never = f"select <8 x i1> <{', '.join(['i1 0'] * LANES)}>,"
        changed = re.sub(rf"select  ?<8 x i1> {re.escape(condition)},", never, text[start:stop])
        yield text[:start] + changed + text[stop:]


def _fails(text: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(curve, "_library", Library(compiled(text, any_with(Ifma.features))))
    return not _agrees()


def test_the_comparison_for_faults_finds_none_in_the_code_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _fails(_as_it_is(), monkeypatch)


@pytest.mark.parametrize("limb", range(LIMBS))
def test_a_lost_carry_is_caught(limb: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Field.carry

    def faulty(self: Field, w: list[object]) -> list[object]:
        lost = self.b.and_(w[limb], field.splat_const(MASK))
        return list(whole(self, [*w[:limb], lost, *w[limb + 1 :]]))

    monkeypatch.setattr(Field, "carry", faulty)
    assert _fails(_text(), monkeypatch)


CONDITIONS = {"decode": 8, "sqrt_ratio": 4}


@pytest.mark.parametrize(("name", "place"), [(name, i) for name, count in CONDITIONS.items() for i in range(count)])
def test_a_dropped_condition_is_caught(name: str, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = list(_conditions_dropped(name))
    assert len(texts) == CONDITIONS[name]
    assert _fails(texts[place], monkeypatch)


DECISIONS = {"begin_encoding": 1, "end_encoding": 4, "map": 2, "add": 1}


@pytest.mark.parametrize(("name", "place"), [(name, i) for name, count in DECISIONS.items() for i in range(count)])
def test_a_decision_that_is_never_taken_is_caught(name: str, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = list(_conditions_ignored(name))
    assert len(texts) == DECISIONS[name]
    assert _fails(texts[place], monkeypatch)


whole_select = Field.select
FAULTS: dict[str, tuple[str, object]] = {
    "no number is reduced below p": ("canonical", lambda self, x: x),
    "a negative root is left negative": ("absolute", lambda self, x: self.canonical(x)),
    "a condition selects the other side": ("select", lambda self, c, x, y: whole_select(self, c, y, x)),
    "no condition selects": ("select", lambda self, c, x, y: y),
    "differences are not kept positive": ("minus", lambda self, x, y: list(map(self.b.sub, x, y))),
}


@pytest.mark.parametrize("why", FAULTS)
def test_a_planted_fault_is_caught(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, faulty = FAULTS[why]
    monkeypatch.setattr(Field, name, faulty)
    assert _fails(_text(), monkeypatch)


@pytest.mark.parametrize("entry", [1, 4, 8])
def test_a_table_that_lacks_an_entry_is_caught(entry: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text, all_lanes = _as_it_is(), ", ".join([f"i64 {entry}"] * LANES)
    wanted = re.compile(rf"icmp eq <8 x i64> \S+, <{all_lanes}>")
    assert len(wanted.findall(text)) == 2          # from points, from uniform bytes
    assert _fails(wanted.sub(lambda found: found.group().replace(f"i64 {entry}", "i64 99"), text), monkeypatch)


def test_a_digit_whose_sign_is_lost_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _as_it_is()
    assert text.count("icmp slt <8 x i64>") == 2
    assert _fails(text.replace("icmp slt <8 x i64>", "icmp ult <8 x i64>"), monkeypatch)
