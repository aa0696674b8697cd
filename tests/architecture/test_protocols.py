"""A protocol is more than its file: what is missing when one is added is named here. docs/adding-a-protocol.md"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mpc.protocols import PROTOCOLS
from mpc.testing.subjects import SUBJECTS
from wire.codec import REGISTRY, VERSIONS

ROOT = Path(__file__).resolve().parents[2]
# Protocols that the conformance suite does not run, and where the same is shown instead.
ELSEWHERE = {"train": ("tests/protocols/test_train.py", "a run takes seconds at real key sizes, and the suite plays "
                                                        "hundreds")}
# Protocols whose messages all belong to building blocks, and the schema that holds these.
BORROWED_SCHEMAS = {"score": "shares", "correlate": "products"}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_has_one_file_a_schema_and_a_page(name: str) -> None:
    assert (ROOT / "mpc" / "protocols" / f"{name}.py").is_file()
    assert (ROOT / "proto" / "wire" / "v1" / f"{BORROWED_SCHEMAS.get(name, name)}.proto").is_file()
    page = (ROOT / "docs" / "protocols" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}:")
    assert f"mpc/protocols/{name}.py" in page
    assert re.search(r"[Ww]hat each side learns", page)
    for line in PROTOCOLS[name].ledger:
        if line.kind == "revealed":
            assert line.code in page, f"the page does not name the ledger line {line.code}"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_message_has_a_line_in_the_codec(name: str) -> None:
    schema = BORROWED_SCHEMAS.get(name, name)
    for kind in PROTOCOLS[name].messages:
        assert kind in REGISTRY, kind.__name__
    assert schema in {REGISTRY[kind].protocol for kind in PROTOCOLS[name].messages}
    assert VERSIONS[schema] == PROTOCOLS[name].version


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_runs_in_the_conformance_suite_or_says_why_not(name: str) -> None:
    assert (name in SUBJECTS) != (name in ELSEWHERE)
    if name in ELSEWHERE:
        file, reason = ELSEWHERE[name]
        assert "def test_" in (ROOT / file).read_text(encoding="utf-8")
        assert reason


def test_no_protocol_file_is_left_out_of_the_registry() -> None:
    files = {path.stem.partition("_")[0] for path in (ROOT / "mpc" / "protocols").glob("[a-z]*.py")}  # NAME_engine
    assert files == set(PROTOCOLS)
    pages = {path.stem for path in (ROOT / "docs" / "protocols").glob("*.md")}
    assert set(PROTOCOLS) <= pages


def test_a_ledger_code_belongs_to_one_protocol() -> None:
    codes = [line.code for spec in PROTOCOLS.values() for line in spec.ledger]
    assert len(codes) == len(set(codes))
