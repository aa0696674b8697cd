"""Certificates for trials: DIR/<party>/ with a CA and one certificate for each PARTY. Never for real use."""

from __future__ import annotations

import sys
from pathlib import Path

from wire import certificates


def main(directory: Path, parties: list[str]) -> None:
    """Make a CA and one certificate for each party, and print what would be read aloud."""
    for party in parties:
        made = certificates.create_directory(directory / party, party)
        print(f"{party}: CA {certificates.fingerprint(made.ca_pem)}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: make_dev_certificates.py DIR PARTY [PARTY ...]")
    main(Path(sys.argv[1]), sys.argv[2:])
