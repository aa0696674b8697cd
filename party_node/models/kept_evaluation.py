"""The label holder's private figures of a job at full precision, and why less of them was released.

One `evaluation.json`, 0600, in the model's directory at the label holder's own site, beside the kept scores that it is
made of. It never leaves it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mpc.errors import LocalError
from party_node.models.released_figures import Judged
from wire.private_files import write_private

FILE_NAME = "evaluation.json"


def write_evaluation(path: Path, judged: Judged) -> None:
    """Write the file, readable by its owner only."""
    write_private(path, json.dumps({"evaluation": judged.own, "held_back": judged.why}, indent=1).encode())


def read_evaluation(path: Path) -> tuple[dict[str, Any] | None, str]:
    """The figures, None where one outcome was missing, and why less was released. LocalError: not such a file."""
    try:
        kept = json.loads(path.read_bytes())
        return kept["evaluation"], str(kept["held_back"])
    except (OSError, ValueError, KeyError, TypeError):
        raise LocalError(f"{path} is not a file of kept figures", "restore it from a copy") from None
