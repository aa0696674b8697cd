"""Entry point of the `coordinator` command."""

from coordinator.cli import app


def main() -> None:
    """Run the command line."""
    app(prog_name="coordinator")


if __name__ == "__main__":
    main()
