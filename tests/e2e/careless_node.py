"""A node without the doors: gRPC's own patience with a handshake, and no more descriptors than it was started with."""

from party_node.__main__ import main
from party_node.daemon import node
from wire import server

server.LISTENER_OPTIONS = []
node.use_all_descriptors = lambda: None

if __name__ == "__main__":
    main()
