"""A party's node. Matrix products take one thread each: the node's own pool shares the work out, and OpenBLAS's threads
wait for each other many times longer than they work where other programs run too."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")   # read when numpy is loaded, which is after this
