"""A million candidate identifiers, all true ones among them, against a whole alignment of three parties, either engine.

    make dictionary
    python scripts/sweeps/dictionary.py [--candidates 1000000]

The attacks are those of tests/protocols/test_align_dictionary.py. Exit status 1 if any candidate is found.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mpc.group import ristretto255
from tests.protocols.test_align_dictionary import attacks


def main(argv: list[str] | None = None) -> int:
    """Try, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--candidates", type=int, default=1_000_000)
    options = parser.parse_args(argv)
    ristretto255.warm()
    found = {f"{engine}: {what}": count for engine in ("ecdh", "oprf")
             for what, count in attacks(engine, options.candidates).items()}
    print("\n".join(f"{what:50} {count}" for what, count in found.items()))
    return int(any(found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
