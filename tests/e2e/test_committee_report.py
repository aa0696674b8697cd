"""Two commands after registration: a joint scorecard, and the report that a committee reads, as a browser shows it."""

from __future__ import annotations

import csv
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from joint_risk.local_consortium import ROOT
from joint_risk.synthetic_tables import make
from reporting.page import SECTIONS
from tests.chromium import Show, Sight, collisions, smallest_words_px

PARTIES = ("bank", "ecommerce", "telecom")
TERMS = ("--lgd", "0.6", "--margin", "0.08", "--exposure", "5000", "--segment", "region")
WIDTHS = (1280, 390)
SMALLEST_PX = 9.5   # of text outside drawings
SMALLEST_DRAWN_PX = 9.0
# Text of a drawing that is narrower than this is not read
SMALLEST_DRAWING_PX = 150


def command(script: str, *arguments: object) -> dict[str, Any]:
    done = subprocess.run([sys.executable, f"scripts/{script}", *map(str, arguments), "--json"], cwd=ROOT,
                          capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a job with bins of three has run."""
    base = tmp_path_factory.mktemp("committee")
    manifest = make(base / "tables", 7500, 1)["parties"]
    tables = [word for name in PARTIES for word in ("--table", f"{name}={base / 'tables' / manifest[name]['file']}")]
    columns = [word for name in PARTIES for word in ("--columns", f"{name}:{','.join(manifest[name]['features'])}")]
    ids = [word for name in PARTIES for word in ("--id", f"{name}:{manifest[name]['id']}")]
    found = command("run_local_cluster.py", *tables, *columns, *ids, "--label", f"bank:{manifest['bank']['label']}",
                    "--bins", "--correlations", "matrix", "--correlation-threshold", 0.3, "--key-bits", 2048,
                    "--noise", 0, "--test-fraction", 0.6,   # so many judge that every section is released
                    "--out", base / "out")
    assert found["bins"]["columns"] >= 6
    assert found["bins"]["other_bins"] == 0
    assert max(found["bins"]["weight_error"], found["bins"]["information_error"]) <= 1e-9
    assert abs(found["auc"]["joint"] - found["auc"]["pooled"]) <= 5e-3
    return base / "out"


@pytest.fixture(scope="module")
def report(home: Path) -> Path:
    """The committee's report of it."""
    return Path(command("committee_report.py", home, *TERMS)["data"]["path"])


def rows(report: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((report / "tables" / f"{name}.csv").read_text().splitlines()))


def test_every_number_is_made_again_by_one_command(home: Path, report: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    command("committee_report.py", home, *TERMS, "--out", again)
    files = sorted(path.relative_to(report) for path in report.rglob("*") if path.is_file())
    assert len(files) > 30
    for file in files:
        assert (again / file).read_bytes() == (report / file).read_bytes(), file
        assert stat.S_IMODE((report / file).stat().st_mode) == 0o600


def test_the_tables_are_those_of_the_job(home: Path, report: Path) -> None:
    result = json.loads((home / "result.json").read_text())
    own = next(row for row in rows(report, "bank_own_figures") if row["measure"] == "AUC")
    told = next(row for row in rows(report, "solo_joint") if row["measure"] == "AUC")
    for model in ("joint", "solo"):
        assert float(own[model]) == pytest.approx(result["auc"][model], abs=1e-6)
        assert float(told[model]) == pytest.approx(result["auc"][model], abs=0.03), "in steps of half a standard error"
        assert float(told[f"{model}, low"]) <= float(own[model]) <= float(told[f"{model}, high"])
    outcomes = {row["sample"]: row for row in rows(report, "bank_outcomes")}
    assert int(outcomes["development sample"]["customers"]) == result["train_rows"]
    assert sum(int(row["customers"]) for row in rows(report, "bank_segments")) == result["test_rows"]
    for party in PARTIES:
        found = rows(report, f"{party}_bins")
        assert found
        for row in (row for row in found if row["bin"] == "1"):
            bins = [other for other in found if other["characteristic"] == row["characteristic"]]
            assert sum(int(other["customers"]) for other in bins) == result["train_rows"]
            assert sum(int(other["bad"]) for other in bins) == int(outcomes["development sample"]["bad"])
    reasons = rows(report, "joint_reasons")
    assert {(row["institution"], row["characteristic"]) for row in reasons} == {
        (party, row["characteristic"]) for party in PARTIES for row in rows(report, f"{party}_bins")}
    assert 0.9 < sum(float(row["first reason"]) for row in reasons) <= 1 + 1e-9
    assert {row["reading"] for row in rows(report, "joint_stability")} <= {"no more than chance", "slight", "moderate"}


def test_correlations_across_institutions_are_those_that_the_job_showed(home: Path, report: Path) -> None:
    shown = json.loads((home / "result.json").read_text())["correlations"]
    found = {(row["institution"], row["column"], row["other institution"], row["its column"]): float(row["correlation"])
             for row in rows(report, "correlations")}
    names = {party: [row["characteristic"] for row in rows(report, f"{party}_characteristics")] for party in PARTIES}
    assert len(shown["matrices"]) == 3
    assert found == {(block["parties"][0], first, block["parties"][1], second): value
                     for block in shown["matrices"]
                     for first, line in zip(block["columns"][0], block["r"], strict=True)
                     for second, value in zip(block["columns"][1], line, strict=True)}
    assert any(value for key, value in found.items() if key[1] in names[key[0]] and key[3] in names[key[2]])
    strong = [row for row in found.items() if abs(row[1]) >= 0.3]
    # Each job draws its hold-out anew, so none of some pairs near the threshold may reach it: then there is no table.
    assert (report / "tables" / "correlation_pairs.csv").exists() == bool(shown["pairs"])
    pairs = rows(report, "correlation_pairs") if shown["pairs"] else []
    assert len(pairs) == len(shown["pairs"]) >= len(strong) * 0.9
    assert own_report(home, "telecom", shown_job(home))[0] == 0
    own = csv.DictReader((home / "telecom" / "models" / shown_job(home) / "report" / "tables" / "correlations.csv")
                         .read_text().splitlines())
    assert {frozenset((row["institution"], row["other institution"])) for row in own} == {
        frozenset((other, "telecom")) for other in PARTIES if other != "telecom"}


def shown_job(home: Path) -> str:
    return str(json.loads((home / "result.json").read_text())["job_id"])


def own_report(home: Path, party: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "party_node", "--dir", str(home / party), "--json", "report", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, dict(json.loads(done.stdout))


def test_what_a_party_cannot_say_is_wrong_input(home: Path, tmp_path: Path) -> None:
    job = json.loads((home / "result.json").read_text())["job_id"]
    for party, words, sentence in (("telecom", TERMS[:6], "outcomes"), ("bank", ["--segment", "x"], "column"),
                                   ("bank", ["--lgd", "0.5"], "together")):
        code, found = own_report(home, party, job, "--out", str(tmp_path / "out"), *words)
        assert code == 4
        assert sentence in found["error"]["what"]
        assert not (tmp_path / "out").exists()


def test_each_party_has_its_own_part_and_no_more(home: Path, report: Path) -> None:
    job = json.loads((home / "result.json").read_text())["job_id"]
    for party in PARTIES:
        code, found = own_report(home, party, job[:10], *(TERMS if party == "bank" else ()))
        assert code == 0, found
        folder = Path(found["data"]["path"])
        assert folder == home / party / "models" / job / "report"
        for name in ("bins", "points", "weights", "stability"):
            own, merged = (folder / "tables" / f"{name}.csv", report / "tables" / f"{party}_{name}.csv")
            assert own.read_bytes() == merged.read_bytes(), "one way to every number"
        page = (folder / "report.html").read_text()
        for other in PARTIES:
            for row in rows(report, f"{other}_bins"):
                assert (f"Bad rate by bin of {row['characteristic']}\"" in page) == (other == party)


def test_a_folder_without_a_job_is_wrong_input(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "scripts/committee_report.py", str(tmp_path), "--json"], cwd=ROOT,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert "no finished job" in json.loads(done.stdout)["error"]["what"]


# ---------------------------------------------------------------- as a browser shows it


def pages(home: Path, report: Path) -> dict[str, Path]:
    """The committee's page, the coordinator's alone, and a party's own."""
    (record,) = (home / "coordinator" / "jobs").glob("*/record.json")
    return {"committee": report / "report.html", "coordinator": record.parent / "report.html",
            "own part": home / "bank" / "models" / record.parent.name / "report" / "report.html"}


def look(seen: Sight, page: Path, width: int) -> None:
    """Nothing to complain of, nothing fetched, nothing beyond the edge, nothing too small to read."""
    assert seen.complaints == []
    assert seen.fetched == [page.resolve().as_uri()]
    assert seen.ask("document.documentElement.scrollWidth") <= width
    beyond = """[...document.querySelectorAll('main *')].filter(e => !e.closest('.wide') && !e.closest('svg') &&
        e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"""
    assert seen.ask(beyond) == []
    small = f"""[...document.querySelectorAll('main *')].filter(e => !e.closest('svg') && e.textContent.trim() &&
        getComputedStyle(e).display !== 'none' && parseFloat(getComputedStyle(e).fontSize) < {SMALLEST_PX}
        ).map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"""
    assert seen.ask(small) == []
    empty = f"""[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().height < 80 ||
        e.getBoundingClientRect().width < {SMALLEST_DRAWING_PX} || !e.querySelector('rect, path, polyline')
        ).map(e => e.ariaLabel)"""
    assert seen.ask(empty) == []
    assert collisions(seen) == []
    assert smallest_words_px(seen) >= SMALLEST_DRAWN_PX


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", ["committee", "coordinator", "own part"])
def test_a_page_is_readable_on_a_desk_and_on_a_telephone(
    which: str, width: int, home: Path, report: Path, show: Show
) -> None:
    page = pages(home, report)[which]
    look(show(page, width), page, width)


def test_the_committee_sees_every_section_and_every_plot(home: Path, report: Path, show: Show) -> None:
    page = show(report / "report.html", WIDTHS[0])
    seen = page.ask("[...document.querySelectorAll('section')].filter(e => e.offsetHeight > 60).map(e => e.id)")
    assert seen == list(SECTIONS)
    assert page.ask("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))") == seen
    drawn = page.ask("[...document.querySelectorAll('svg')].map(e => e.getAttribute('aria-label'))")
    for title in ("ROC", "KS", "Calibration", "Lift", "Joint against solo", "Bad rate by approval rate",
                  "What each cut-off declines", "Observed bad rate by band of the score", "Profit by cut-off",
                  "Distribution of the joint score"):
        assert drawn.count(title) == 1, title
    for party in PARTIES:
        for name in {row["characteristic"] for row in rows(report, f"{party}_bins")}:
            assert f"Bad rate by bin of {name}" in drawn
            assert f"Weight of evidence by bin of {name}" in drawn
    printed = page.printed()
    assert printed[:4] == b"%PDF"
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) <= 40


def test_what_the_browser_would_complain_of_is_noticed(show: Show, tmp_path: Path) -> None:
    """The control: a page with a script that fails, an address that is not there, and a table beyond the edge."""
    page = tmp_path / "bad.html"
    page.write_text("<main><script>nowhere()</script><img src='none.png'><p style='width: 2000px'>wide</p></main>")
    seen = show(page, 390)
    assert any("Uncaught" in line for line in seen.complaints)
    assert any("ERR_FILE_NOT_FOUND" in line for line in seen.complaints)
    assert len(seen.fetched) == 2
    assert seen.ask("document.documentElement.scrollWidth") > 390
