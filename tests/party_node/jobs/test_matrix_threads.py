"""A node's matrix products leave the sharing out of work to the node's pool."""

from __future__ import annotations

import json
import os
import subprocess
import sys

ASKED = """
import json, party_node.commands.operator, numpy, threadpoolctl
print(json.dumps([found["num_threads"] for found in threadpoolctl.threadpool_info() if found["user_api"] == "blas"]))
"""


def blas_threads(**settings: str) -> list[int]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS", "OMP"))}
    kept |= settings
    done = subprocess.run([sys.executable, "-c", ASKED], env=kept, capture_output=True, text=True, check=True)
    found: list[int] = json.loads(done.stdout)
    return found


def test_a_matrix_product_of_a_node_takes_one_thread_unless_its_operator_says_otherwise() -> None:
    assert set(blas_threads()) == {1}
    if (os.cpu_count() or 1) > 1:
        assert set(blas_threads(OPENBLAS_NUM_THREADS="2")) == {2}
