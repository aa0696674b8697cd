"""Entry point of the `coordinator` command."""

from __future__ import annotations

import sys

from coordinator.commands.operator import run_command


def main() -> None:
    """Run the command line; exits with the code of the command."""
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
