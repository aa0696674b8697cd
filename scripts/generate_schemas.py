"""Rewrites docs/schemas, the JSON Schemas of files that leave this software, from the classes that write them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from party_node.models.scorecard_json import ScorecardFile

SCHEMAS = {"scorecard-part.schema.json": ScorecardFile}


def text(name: str) -> str:
    """The schema file called `name`."""
    return json.dumps(SCHEMAS[name].model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name in SCHEMAS:
        (ROOT / "docs" / "schemas" / name).write_text(text(name), encoding="utf-8")
