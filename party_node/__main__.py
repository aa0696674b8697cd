"""`party-node`: the commands of one institution."""

from __future__ import annotations

import sys

from party_node.commands.operator import run_command


def main() -> None:
    """Entry point of the console script; exits with the code of the command."""
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
