"""What the documents show is true: commands and options exist, samples load, tables and maps are those of the code."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

import coordinator.commands.operator
import party_node.commands.operator
from coordinator.jobs.plan import build_spec, load_plan
from mpc.protocols import PROTOCOLS
from party_node.config import PartyConfig, load_toml
from party_node.consent import datasets
from scripts.generate_readme_table import replaced
from wire.consortium import load_consortium
from wire.description import DatasetDescription
from wire.errors import ROWS

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "docs" / "samples"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
PROGRAMS = {"party-node": party_node.commands.operator, "coordinator": coordinator.commands.operator}
COMMANDS = {
    "party-node": ["init", "doctor", "join", "dataset register", "dataset mock", "dataset list", "run", "approve",
                   "deny", "jobs", "prepared list", "prepared remove", "scorecard", "report", "audit verify",
                   "cert renew"],
    "coordinator": ["init", "plan", "launch", "precompute", "watch", "cancel", "jobs", "report"],
}


@cache
def help_of(program: str, *words: str) -> str:
    """What `--help` prints; fails the test where there is none."""
    if program in PROGRAMS:
        cli = PROGRAMS[program]
        done = CliRunner().invoke(cli.app, [*words, "--help"], obj=cli.Session(), env={"COLUMNS": "200"})
        assert done.exit_code == 0, f"{program} {words}: {done.output}"
        return str(done.output)
    script = subprocess.run([sys.executable, program, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60,
                            check=False, env={"COLUMNS": "200"})
    assert script.returncode == 0, f"{program}: {script.stderr}"
    return script.stdout


def shown_lines(page: Path) -> Iterator[str]:
    """Command lines in code blocks, with continued lines joined."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```(?:sh|console)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"\s*(party-node|coordinator|python scripts/|make )", line):
                yield line.partition("#")[0].strip()


LINES = [pytest.param(line, id=f"{page.name}: {line[:60]}") for page in PAGES for line in shown_lines(page)]


def test_there_are_commands_in_the_documents() -> None:
    assert len(LINES) >= 15


@pytest.mark.parametrize("line", LINES)
def test_a_command_that_is_shown_exists_with_its_options(line: str) -> None:
    program, *words = shlex.split(line)
    if program == "make":
        assert f"\n{words[0]}:" in (ROOT / "Makefile").read_text()
        return
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    if program == "python":
        known = help_of(words[0])
    else:
        after = ["", *words]
        bare = [word for word, before in zip(words, after, strict=False) if "--dir" not in (word, before)]
        group = bare[:2] if bare[0] in {"dataset", "audit", "cert", "prepared"} else bare[:1]
        known = help_of(program) + help_of(program, *group)
    for option in options:
        assert re.search(rf"{re.escape(option)}\b", known), f"{program} has no {option}"


@pytest.mark.parametrize(("program", "command"), [(p, c) for p, commands in COMMANDS.items() for c in commands])
def test_every_command_helps_and_is_in_the_guide(program: str, command: str) -> None:
    assert help_of(program, *command.split()).strip()
    guide = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    named = [match.group(1) for match in re.finditer(rf"{program}(?: --dir \S+)?\s((?:[a-z]+\s?)+)", guide)]
    alone = re.findall(r"`([a-z]+(?: [a-z]+)?)`", guide)
    assert any(" ".join(name.split()).startswith(command) for name in named) or command in alone


@EVERY_PAGE
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        parts = urlsplit(target)
        if not parts.scheme and parts.path:
            assert (page.parent / parts.path).exists(), f"{page.name} links to {target}"


@EVERY_PAGE
def test_files_that_a_page_names_exist(page: Path) -> None:
    folders = "mpc|reporting|wire|party_node|coordinator|joint_risk|scripts|proto|tests|docs"
    for name in re.findall(rf"`((?:{folders})/[\w./-]*\w)`", page.read_text(encoding="utf-8")):
        if "NAME" in name:
            continue
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_map_lists_the_folders_that_there_are() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: nothing says which folders are ours")
    folders = {line.partition("/")[0] + "/" for line in listed.stdout.splitlines() if "/" in line}
    mapped = re.findall(r"^\| `([^`]+/)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(mapped) == sorted(folders)


def test_the_table_of_who_learns_what_is_that_of_the_protocols() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == replaced(text), "run: python scripts/generate_readme_table.py"
    for name in PROTOCOLS:
        assert f"docs/protocols/{name}.md" in text


def test_the_samples_fit_together() -> None:
    """The plan, what the bank's sample dataset offers, and who the consortium's sample file names."""
    plan = load_plan(SAMPLES / "job.toml")
    loans = datasets.load_dataset_file(SAMPLES / "loans.toml")
    consortium = load_consortium(SAMPLES / "consortium.toml")
    assert load_toml(PartyConfig, SAMPLES / "party.toml", "").party == "bank"
    members = {member.id: member.identity for member in consortium.party}
    assert {party.id for party in plan.party} <= set(members)
    assert plan.purpose in loans.policy.purposes
    assert consortium.coordinator.id in loans.policy.coordinators

    def offer(name: str, columns: list[str], label: str | None) -> DatasetDescription:
        return DatasetDescription.model_validate({
            "name": name, "digest": "0" * 64, "rows": 1000, "id_columns": ["customer_id"],
            "id_profiles": ["plain"], "id_scheme": "written", "id_shapes": [{}], "label_column": label,
            "label_positive": loans.label_positive if label else [],
            "columns": [{"name": c, "kind": "numeric"} for c in columns],
            "purposes": loans.policy.purposes})

    (subscribers,) = (party for party in plan.party if party.id != plan.label.party)
    offers = {plan.label.party: [offer(loans.name, loans.offered, loans.label)],
              subscribers.id: [offer(subscribers.dataset, subscribers.columns, None)]}
    spec = build_spec(plan, offers, members)
    assert spec.party("bank").columns == loans.offered
    revealed = {line.code for p in PROTOCOLS.values() for line in p.ledger if line.kind == "revealed"}
    assert revealed & set(spec.reveal) <= set(loans.policy.reveal), "the sample policy would deny every job"
    assert set(spec.release) <= set(loans.policy.release)
    assert spec.crypto.key_bits >= loans.policy.key_bits


def test_the_exit_codes_of_the_guide_are_those_of_the_table() -> None:
    guide = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    listed = {int(code) for code in re.findall(r"^\| ([0-9]) \|", guide, re.MULTILINE)}
    assert listed == {0, *(row.exit_code for row in ROWS.values())}


def test_every_decision_has_a_number_of_its_own() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "adr").glob("*.md"))
    numbers = [int(name[:4]) for name in names]
    assert numbers == list(range(1, len(names) + 1))
    for name in names:
        text = (ROOT / "docs" / "adr" / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {int(name[:4])}. "), name
        assert len(text.splitlines()) <= 60, f"{name} is longer than a page"
