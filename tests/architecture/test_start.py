"""Commands start at once: what is heavy is loaded when an engine is made, a table is read, a page is drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"numba", "llvmlite", "pyarrow", "matplotlib", "jinja2", "xlsxwriter", "sklearn", "duckdb", "psycopg", "ray"}
RUN = """
import json, sys
from {program}.__main__ import run_command
code = run_command({words!r})
print(json.dumps({{"code": code, "loaded": sorted({{name.partition(".")[0] for name in sys.modules}})}}))
"""


def loaded(program: str, *words: str) -> tuple[int, set[str]]:
    """Exit code and the top-level names of all modules in a process that has run one command."""
    done = subprocess.run([sys.executable, "-c", RUN.format(program=program, words=list(words))], cwd=ROOT,
                          capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found["code"], set(found["loaded"])


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> str:
    home = str(tmp_path_factory.mktemp("start") / "bank")
    code, found = loaded("party_node", "--dir", home, "init", "--party", "bank-a", "--address", "localhost:8443",
                         "--doctor-address", "localhost:8444")
    assert code == 0
    assert not found & HEAVY
    return home


@pytest.mark.parametrize("program", ["party_node", "coordinator"])
def test_help_loads_neither_arrays_nor_anything_heavy(program: str) -> None:
    code, found = loaded(program, "--help")
    assert code == 0
    assert not found & (HEAVY | {"numpy", "rbcl", "gmpy2", "phe", "structlog"})


@pytest.mark.parametrize(("words", "code"), [
    (("jobs",), 0), (("dataset", "list"), 0), (("approve", "abc"), 4), (("prepared", "list"), 0),
    (("audit", "verify"), 0),
])
def test_commands_that_read_no_table_load_nothing_heavy(party: str, words: tuple[str, ...], code: int) -> None:
    got, found = loaded("party_node", "--dir", party, *words)
    assert got == code
    assert not found & HEAVY


def test_the_coordinators_list_of_jobs_loads_nothing_heavy(tmp_path: Path) -> None:
    home = str(tmp_path / "coordinator")
    assert loaded("coordinator", "--dir", home, "init")[0] == 0
    code, found = loaded("coordinator", "--dir", home, "jobs")
    assert code == 0
    assert not found & HEAVY


def test_a_command_that_reads_a_table_does_load_what_reads_it(party: str, tmp_path: Path) -> None:
    """The control: the names are seen once they are there."""
    (tmp_path / "loans.csv").write_text("id,age\n" + "".join(f"c{n},{n}\n" for n in range(30)))
    (tmp_path / "loans.toml").write_text('name = "loans"\nsource = "loans.csv"\nid = "id"\noffered = ["age"]\n')
    code, found = loaded("party_node", "--dir", party, "dataset", "register", str(tmp_path / "loans.toml"))
    assert code == 0
    assert "pyarrow" in found
