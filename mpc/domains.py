"""Every hash label and random stream label of the system. A label is used by one purpose only."""

from __future__ import annotations

from enum import StrEnum


class Domain(StrEnum):
    """Domain-separation labels; add one per purpose and never reuse or rename one."""

    RNG_CHILD = "jcr/v1/rng-child"
    RNG_STREAM = "jcr/v1/rng-stream"
    ALIGN_HASH_TO_GROUP = "jcr/v1/align/hash-to-group"
    ALIGN_DIGEST = "jcr/v1/align/digest"
    ALIGN_COUNT = "jcr/v1/align/count"
    OPRF_CODE = "jcr/v1/oprf/code"
    OPRF_PLACES = "jcr/v1/oprf/places"
    OPRF_OUTPUT = "jcr/v1/oprf/output"
    COIN_COMMITMENT = "jcr/v1/coin/commitment"
    COIN_RESULT = "jcr/v1/coin/result"
    HOLD_OUT = "jcr/v1/hold-out"
    SPLIT = "jcr/v1/split"
    KEY_PROOF = "jcr/v1/paillier/key-proof"
    BASE_OT_KEY = "jcr/v1/ot/base-key"
    OT_SESSION = "jcr/v1/ot/session"
    OT_TREE = "jcr/v1/ot/tree"
    OT_COLUMN = "jcr/v1/ot/column"
    OT_PAD = "jcr/v1/ot/pad"
    ZERO_SHARING = "jcr/v1/zero-sharing"
    ZERO_FUNCTION = "jcr/v1/zero-sharing/function"
    TRANSCRIPT = "jcr/v1/transcript"
    JOB_APPROVAL = "jcr/v1/job/approval"
    JOB_ID = "jcr/v1/job/id"
    PEER_STREAM = "jcr/v1/peer/stream"
    JOB_OPENING = "jcr/v1/job/opening"
    AUDIT = "jcr/v1/audit"
    AUDIT_HEAD = "jcr/v1/audit/head"
    AUDIT_COUNTERSIGN = "jcr/v1/audit/countersign"
    MATRIX_DIGEST = "jcr/v1/train/matrix"
    PERTURBATION = "jcr/v1/train/perturbation"
    BOOTSTRAP = "jcr/v1/evaluation/bootstrap"
    TRAINING_SETS = "jcr/v1/consent/training-sets"
    SCORE_DITHER = "jcr/v1/score/dither"
