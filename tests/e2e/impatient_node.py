"""A node in everything but patience: it waits seconds, not twenty, for a coordinator that stopped watching."""

from party_node.__main__ import main
from party_node.jobs import runner

runner.UNWATCHED_S = 4.0

if __name__ == "__main__":
    main()
