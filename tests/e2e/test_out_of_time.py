"""Out of time through real daemons: the later period judges at every party, the report says so, every row is placed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coordinator.config import CoordinatorDirectory
from joint_risk.local_consortium import COORDINATOR
from mpc.protocols import PROTOCOLS
from party_node.models.part import load_part
from tests import canaries
from tests.e2e.scene import COMMON_OF_TWO, FAMILY, FEW_COLUMNS, FLOORS, LABEL, PRESENT, Ran, Scene, table

LATE = 100       # of the common customers
MONTHS = ("2023-11", "2023-12", "2024-01", "2024-02")


def vintages(low: int, high: int, missing: int = 0) -> list[str]:
    """Customers of `PRESENT`: the last `LATE` common ones of 2024, the first `missing` common ones of no month."""
    start, stop = PRESENT["shop"][0], PRESENT["shop"][0] + COMMON_OF_TWO
    assert high == stop
    months = [MONTHS[k % 2 + (2 if k >= stop - LATE else 0)] for k in range(low, high)]
    for k in range(start, start + missing):
        months[k - low] = ""
    return months


def out_of_time(two: Scene, name: str, **rules: Any) -> dict[str, Any]:
    return two.job({"bank": name}, hold_out={"column": "vintage", **rules}, minimum_intersection=100)


def offered(two: Scene, name: str, **change: Any) -> Ran:
    missing = change.pop("missing", 0)
    months = vintages(*PRESENT["bank"], missing)
    registered = two.offer("bank", name, table("bank", vintage=months), period="vintage", **change)
    assert registered.code == 0
    return registered


def test_the_later_period_judges_at_every_party_and_the_report_says_so(two: Scene) -> None:
    offered(two, "periods")
    planned = two.coordinator("plan", *two.launch_arguments(out_of_time(two, "periods", since="2024-01"))[1:2],
                              "--no-rehearsal")
    assert planned.code == 0, planned.text
    assert "which of its own customers belong to the later period" in planned.text
    ran = two.run(out_of_time(two, "periods", since="2024-01"))
    record = ran.data
    assert (record["common"], record["test_rows"]) == (COMMON_OF_TWO, LATE)
    for counts in record["rows"].values():
        assert counts["read"] == sum(count for what, count in counts.items() if what != "read")
    line = next(line for line in record["ledger"] if line["code"] == "split.period")
    assert (line["to"], line["kind"], line["count"]) == ("all", "revealed", COMMON_OF_TWO)
    parts = {p: load_part(two.directory(p) / "models", record["job_id"]) for p in ("bank", "shop")}
    months = vintages(*PRESENT["bank"])
    assert [months[row] >= "2024" for row in parts["bank"].rows] == parts["bank"].test.tolist()
    assert parts["shop"].test.tolist() == parts["bank"].test.tolist()
    assert "vintage" not in " ".join(parts["bank"].preparation.inputs)
    folder = CoordinatorDirectory(two.directory(COORDINATOR)).job(record["job_id"])
    page = (folder / "report.html").read_text()
    assert "Out-of-time sample: customers whose vintage is 2024-01 or later judge, earlier ones trained." in page
    assert "drawn at random" not in page
    own = two.operator("bank", "report", record["job_id"]).data
    periods = (Path(own["path"]) / "tables" / "periods.csv").read_text().splitlines()
    assert periods[1:] == [f"development sample,{COMMON_OF_TWO - LATE},2023-11,2023-12",
                           f"out-of-time sample,{LATE},2024-01,2024-02"]
    assert two.operator("shop", "report", record["job_id"]).code == 0
    job = record["job_id"]
    compared = two.operator("bank", "compare", job[:12], job).data["evaluation"]
    assert (compared["verdict"]["kind"], compared["rows"]["test"]) == ("none", LATE)
    assert two.operator("shop", "compare", job, job).error["advice"] == "scores are kept at the label holder"


def test_rows_without_a_period_end_the_job_before_anything_is_aligned(two: Scene) -> None:
    registered = offered(two, "gaps", missing=10)
    assert "no job can take `vintage` as its period: 10 rows have no value" in " ".join(registered.data["notes"])
    ran = two.run(out_of_time(two, "gaps", since="2024-01"))
    assert ran.code == 4
    assert "does not serve the job" in ran.error["what"]
    assert not any(character.isdigit() for character in ran.error["what"])
    assert two.last_job("bank")["stage"] == "align"


def test_a_period_that_is_the_outcome_in_disguise_is_refused_before_a_bit_is_sent(two: Scene) -> None:
    lines, first = table("bank").splitlines(), PRESENT["shop"][0]
    place = lines[0].split(",").index(LABEL)
    good = [k for k, line in enumerate(lines[1:]) if k >= first and line.split(",")[place] != canaries.POSITIVE]
    when = ["2024-06" if k in good[: LATE + 5] else "2023-01" for k in range(len(lines) - 1)]   # nobody later is bad
    assert two.offer("bank", "disguised", table("bank", vintage=when), period="vintage").code == 0
    job = two.job({"bank": "disguised"}, hold_out={"column": "vintage", "since": "2024-01"}, minimum_intersection=100)
    ran = two.run(job)
    assert ran.code == 4
    assert "does not serve the job" in ran.error["what"]
    assert not any(character.isdigit() for character in ran.error["what"])
    assert two.last_job("bank")["stage"] == "split"


def test_a_boundary_a_few_customers_from_an_earlier_one_is_refused(two: Scene) -> None:
    """Two models of which one was trained on five customers more would show these five."""
    def others(party: str) -> list[str]:
        """Ids of customers who are in no other job of this scene."""
        return [canaries.canary_id(1000 + k) for k in range(*PRESENT[party])]

    size, late = PRESENT["bank"][1] - PRESENT["bank"][0], LATE + 5
    months = ["2023-11"] * (size - late) + ["2024-01"] * 5 + ["2024-02"] * (late - 5)
    policy = {"minimum_difference": 20, **FLOORS, **FEW_COLUMNS}
    bank = table("bank", customer=others("bank"), vintage=months)
    assert two.offer("bank", "near", bank, period="vintage", policy=policy).code == 0
    assert two.offer("shop", "near", table("shop", customer=others("shop"))).code == 0

    def job(since: str) -> dict[str, Any]:
        return two.job({"bank": "near", "shop": "near"}, hold_out={"column": "vintage", "since": since, **FLOORS},
                       minimum_intersection=100)

    assert two.run(job("2024-01")).data["test_rows"] == late
    ran = two.run(job("2024-02"))
    assert ran.code == 6
    assert "the customers that train differ from an earlier job's by only a few (policy.minimum_difference)" in \
        ran.error["what"]


def test_without_a_boundary_the_latest_share_judges(two: Scene) -> None:
    offered(two, "latest")
    record = two.run(out_of_time(two, "latest", fraction=0.4)).data
    assert record["test_rows"] == LATE       # the months of 2024 make 45 %, the latest of them alone half of that
    assert record["parameters"]["hold_out"] == 0.4


def test_a_boundary_that_leaves_a_handful_is_refused_and_nobody_is_told(two: Scene) -> None:
    offered(two, "handful")
    ran = two.run(out_of_time(two, "handful", since="2024-02"))
    assert ran.code == 1
    assert "before or after the boundary" in ran.error["what"]
    assert not any(character.isdigit() for character in ran.error["what"])


def test_a_bank_whose_policy_does_not_allow_the_split_is_not_made_to(two: Scene) -> None:
    lines = [line for protocol in PROTOCOLS.values() for line in protocol.ledger if line.kind == "revealed"]
    allowed = sorted(line.code for line in lines if line.code != "split.period")
    offered(two, "closed", policy={"minimum_difference": 0, "reveal": allowed})
    ran = two.run(out_of_time(two, "closed", since="2024-01"))
    assert ran.code == 6
    assert "split.period" in ran.error["what"]


def test_a_column_that_is_no_declared_period_splits_nothing(two: Scene) -> None:
    assert two.offer("bank", "plain", table("bank")).code == 0
    ran = two.run(two.job({"bank": "plain"}, hold_out={"column": FAMILY["bank"][0], "since": "30"}))
    assert ran.code == 4
    assert "declares no period in `plain`" in ran.error["what"]
