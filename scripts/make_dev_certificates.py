"""Certificates for trials: DIR/<party>/{ca,node}.{pem,key} for each PARTY. Never for real use."""

from __future__ import annotations

import sys
from pathlib import Path

from wire import pki


def main(directory: Path, parties: list[str]) -> None:
    """Make a CA and one certificate for each party, and print what would be read aloud."""
    for party in parties:
        folder = directory / party
        folder.mkdir(parents=True, mode=0o700)
        authority = pki.create_authority(party)
        leaf = pki.issue(authority, party)
        for name, issued in (("ca", authority), ("node", leaf)):
            pki.write_private(folder / f"{name}.pem", issued.certificate_pem)
            pki.write_private(folder / f"{name}.key", issued.key_pem)
        print(f"{party}: CA {pki.fingerprint(authority.certificate_pem)}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: make_dev_certificates.py DIR PARTY [PARTY ...]")
    main(Path(sys.argv[1]), sys.argv[2:])
