"""What the joint model is worth, for the risk analyst at the label holder: solo | joint | difference.

Reads the keep-file that the label holder's node wrote (labels and both scores of the hold-out rows); nothing
leaves this machine. As all commands: human text on stderr, with --json one envelope on stdout; exit codes 0 ok,
4 wrong input, 5 our bug.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich import box
from rich.console import Console
from rich.table import Table

from mpc.errors import LocalError
from party_node.models.evaluation import HEADLINE_APPROVAL, REPLICATES, Evaluation, evaluate
from party_node.models.kept_scores import read_scores
from party_node.reports.money_at_equal_approval import APPLICANTS, Money, profit, terms_of
from reporting.comparison_table import PERCENT, POINTS, print_comparison
from wire.errors import OK, OUR_BUG, WRONG_INPUT


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise LocalError(message, f"{self.prog} --help shows how it is used.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="compare_joint_vs_solo.py",
        description="Compare the joint model with the label holder's own, on the hold-out sample. "
        "Runs at the label holder; nothing leaves this machine.",
    )
    parser.add_argument("--scores", required=True, type=Path, metavar="PATH", help="scores.npz of the kept model")
    parser.add_argument("--approval", type=float, default=HEADLINE_APPROVAL, metavar="RATE",
                        help="share of customers approved in the headline figures (default %(default)s)")
    parser.add_argument("--replicates", type=int, default=REPLICATES, metavar="N",
                        help="bootstrap samples behind the intervals (default %(default)s)")
    money = parser.add_argument_group("money (give all three)")
    money.add_argument("--lgd", type=float, metavar="X", help="loss given default, as a share of the exposure")
    money.add_argument("--margin", type=float, metavar="Y", help="earned on a good customer, likewise")
    money.add_argument("--exposure", type=float, metavar="Z", help="lent to one customer, in your currency")
    parser.add_argument("--json", action="store_true", help="print one JSON envelope on stdout")
    return parser


def _print_trade_off(found: Evaluation, money: list[Money], console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("approved", "bad, solo", "bad, joint", "difference", "joint approves at solo's bad rate"):
        table.add_column(name, justify="right")
    for line in found["trade_off"]:
        bad, approval = line["bad_rate"], line["approval_at_equal_bad_rate"]
        table.add_row(
            PERCENT.one(line["approval_rate"]),
            PERCENT.one(bad["solo"]["value"]),
            PERCENT.one(bad["joint"]["value"]),
            f"{POINTS.one(bad['difference']['value'], '+')} "
            f"[dim]{POINTS.ends(bad['difference']['low'], bad['difference']['high'], '+')}[/]",
            PERCENT.one(approval["joint"]["value"]),
        )
    if found["trade_off"]:
        console.print(table)
    if money:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("approved", "profit, solo", "profit, joint", "difference", "95 % interval"):
            table.add_column(name, justify="right")
        for row in money:
            gap = row["difference"]
            table.add_row(
                PERCENT.one(row["approval_rate"]),
                f"{row['solo']['value']:,.0f}",
                f"{row['joint']['value']:,.0f}",
                f"{gap['value']:+,.0f}",
                f"{gap['low']:+,.0f}..{gap['high']:+,.0f}",
            )
        console.print(table)
        console.print(f"[dim]profit per {APPLICANTS:,} applicants, in the unit of --exposure[/]")


def _print_swap_set(found: Evaluation, console: Console) -> None:
    swap = found["swap_set"]
    if swap is None:
        return
    console.print(f"\nWho changes places when both approve {PERCENT.one(swap['approval_rate'])}:")
    names = {
        "joint_only": "approved by joint, declined by solo",
        "solo_only": "declined by joint, approved by solo",
        "approved_by_both": "approved by both",
        "declined_by_both": "declined by both",
    }
    for key, name in names.items():
        cell = swap["cells"][key]
        bad = "" if cell["bad_rate"] is None else f", {PERCENT.one(cell['bad_rate'])} bad"
        console.print(f"  {name}: {cell['rows']:,} customers{bad}", highlight=False)


def run(argv: Sequence[str], console: Console) -> dict[str, object]:
    """The comparison as a JSON-able result; the human part goes to `console`. LocalError: wrong input."""
    arguments = _parser().parse_args(argv)
    if not 1 <= arguments.replicates <= 100_000:
        raise LocalError("--replicates must lie between 1 and 100,000")
    terms = terms_of(arguments.lgd, arguments.margin, arguments.exposure)
    kept = read_scores(arguments.scores)
    found = evaluate(
        kept.outcome, kept.joint, kept.solo,
        approval_rate=arguments.approval, replicates=arguments.replicates,
    )
    money = [] if terms is None else [profit(line, *terms) for line in found["trade_off"]]
    print_comparison(found, console)
    _print_trade_off(found, money, console)
    _print_swap_set(found, console)
    return {"evaluation": found, "money": money}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the command."""
    given = sys.argv[1:] if argv is None else list(argv)
    console = Console(stderr=True)
    try:
        envelope: dict[str, object] = {"ok": True, "data": run(given, console)}
        code = OK
    except LocalError as error:
        problem = {"code": "wrong-input", "what": error.what, "whose": "yours", "advice": error.advice}
        code = WRONG_INPUT
    except Exception as error:  # the edge of the process: the kind of fault, never its text or a row
        problem = {
            "code": "internal", "what": f"a fault of this program ({type(error).__name__})",
            "whose": "ours", "advice": "Report it with the version and the command line.",
        }
        code = OUR_BUG
    if code != OK:
        envelope = {"ok": False, "error": problem}
        console.print(f"{problem['what']}. {problem['advice']}", style="red", markup=False, highlight=False)
    if "--json" in given:
        print(json.dumps(envelope, allow_nan=False))
    return code


if __name__ == "__main__":
    sys.exit(main())
