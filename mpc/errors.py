"""Blame as a value: who is at fault, at which step, for which reason. Texts never hold private values."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a message or a run was refused. The text is the public sentence; it names no value."""

    WRONG_KIND = "a message of another kind was due"
    WRONG_LENGTH = "a vector has another length than was agreed"
    WRONG_ORDER = "a message came out of order"
    OUT_OF_RANGE = "a value lies outside its agreed range"
    BAD_POINT = "a group element is the identity, off the group or not canonical"
    REPEATED_VALUE = "a value is repeated that must be unique"
    REFLECTED = "our own message came back to us"
    BAD_KEY = "a public key failed its checks"
    KEY_WRONG_LENGTH = "a public key has another length than was agreed"
    KEY_EVEN = "a public key is even"
    KEY_SMALL_FACTOR = "a public key has a small factor"
    KEY_PRIME = "a public key is a prime"
    KEY_POWER = "a public key is a perfect power"
    KEY_SHARED_FACTOR = "a public key shares a factor with the key of another party"
    BAD_KEY_PROOF = "the proof for a public key does not hold"
    BAD_CIPHERTEXT = "a ciphertext is zero, out of range, not a unit or not blinded"
    CIPHERTEXT_ZERO = "a ciphertext is zero"
    CIPHERTEXT_OUT_OF_RANGE = "a ciphertext is not below the square of the key"
    CIPHERTEXT_NOT_A_UNIT = "a ciphertext shares a factor with the key"
    CIPHERTEXT_NOT_BLINDED = "a ciphertext carries no randomness"
    CIPHERTEXT_REPEATED = "two ciphertexts carry the same randomness"
    BAD_COMMITMENT = "an opened commitment does not match"
    BAD_TRANSCRIPT = "the transcripts of the two sides differ"
    UNEQUAL = "different parties were told different things"
    SMALL_CELL = "a bin holds fewer customers than the minimum cell that was agreed"
    TOO_FEW_COMMON = "too few customers in common for the minimum that was agreed"
    SMALL_SIDE = "fewer customers before or after the boundary than the minimum that was agreed"
    MALFORMED = "a message could not be parsed"
    WRONG_VERSION = "a message is of another protocol or version"
    WRONG_PARTY = "a message came under another party's name"
    WRONG_JOB = "a message belongs to a job that is not open"
    OTHER_SPEC = "the two sides hold approvals of different job specs"
    GAP = "messages are missing"
    DUPLICATE = "a message came twice"
    OTHER_BYTES = "other bytes came under a sequence number that was used"
    FLOODED = "more was sent than there was credit for"
    BAD_SIGNATURE = "a signature does not fit"
    BAD_AUDIT_HEAD = "an audit log became shorter or was rewritten"
    GONE = "the connection was lost"
    TIMEOUT = "no message came in time"
    STOPPED = "the other side stopped the job"


class MpcError(Exception):
    """Root of all failures of a protocol run."""


class LocalError(MpcError):
    """We are wrong: our inputs, our budget, our configuration. `advice` says how to mend it."""

    whose = ""  # the side that has to act, where that is not the one that raises

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what}. {advice}".rstrip() if advice else what)
        self.what = what
        self.advice = advice


class PeerError(MpcError):
    """They are wrong: `culprit` broke the protocol at `step` for `reason`."""

    def __init__(self, culprit: str, step: str, reason: Reason) -> None:
        super().__init__(f"{culprit}: {reason.value} (at {step})")
        self.culprit = culprit
        self.step = step
        self.reason = reason


class Refused(MpcError):
    """The run is refused by a rule that all sides agreed to (too few rows, not converged, out of range)."""

    def __init__(self, code: str, what: str, advice: str) -> None:
        super().__init__(f"{what}. {advice}")
        self.code = code
        self.what = what
        self.advice = advice
