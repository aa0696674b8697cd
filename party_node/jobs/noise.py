"""What a party's secret linear term is drawn from: the node's secret, the job, and the rows of its own that train.

The same job run again on the same rows, in one piece or in two, has the same term, so that repeating it shows nothing
new. Whatever may move the optimum is in the key: another column, table, penalty or training row, and the term is a
fresh one. Were it the same, the difference of two jobs' weights would be free of it, and two such jobs would show what
the rows that differ have done.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mpc.domains import Domain
from mpc.rng import Rng
from party_node.records.node_secret import NodeSecret
from wire.spec.job import JobSpec, canonical
from wire.spec.two_jobs import OWN


def noise_stream(secret: NodeSecret, spec: JobSpec, rows: NDArray[np.int64]) -> Rng:
    """For the training rows `rows` (row numbers of the own table, in any order, repeated where they count so)."""
    job = canonical(spec.model_dump(mode="json", exclude=set(OWN)))
    trained = hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).digest()
    return Rng(secret.key(Domain.PERTURBATION, hashlib.sha256(job).digest(), trained))
