"""Rewrites the table "who learns what" of README.md from what the protocols say of themselves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mpc.protocols import PROTOCOLS

BEGIN = "<!-- who learns what: made by scripts/generate_readme_table.py -->"
END = "<!-- end -->"


def table() -> str:
    """Markdown: what each role learns, then every ledger line that is revealed."""
    return "\n".join([*_roles(), "", *_revealed()])


def _roles() -> Iterator[str]:
    yield "| protocol | the label holder learns | a feature holder learns |"
    yield "|---|---|---|"
    for name, spec in PROTOCOLS.items():
        page = f"[{name}](docs/protocols/{name}.md)"
        yield f"| {page} | {spec.learns['label_holder']} | {spec.learns['feature_holder']} |"


def _revealed() -> Iterator[str]:
    yield "| opened under the ledger line | to | what |"
    yield "|---|---|---|"
    for spec in PROTOCOLS.values():
        for line in spec.ledger:
            if line.kind == "revealed":
                yield f"| `{line.code}` | {line.to.replace('_', ' ')} | {line.what} |"


def replaced(text: str) -> str:
    """`text` with a fresh table between the marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    readme = ROOT / "README.md"
    readme.write_text(replaced(readme.read_text(encoding="utf-8")), encoding="utf-8")
