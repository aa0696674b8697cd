"""The closed list of protocols: what is not here cannot be run. Knows what each is, and starts none."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mpc.protocol import ProtocolSpec
from mpc.protocols import align, bin, coin, correlate, finish, score, split, train

PROTOCOLS: Mapping[str, ProtocolSpec] = MappingProxyType({
    "align": align.PROTOCOL,
    "bin": bin.PROTOCOL,
    "coin": coin.PROTOCOL,
    "correlate": correlate.PROTOCOL,
    "finish": finish.PROTOCOL,
    "score": score.PROTOCOL,
    "split": split.PROTOCOL,
    "train": train.PROTOCOL,
})
