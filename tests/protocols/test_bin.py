"""The joint counts: equal to pooled, nothing below the minimum cell, and what each side sees."""

from __future__ import annotations

import pytest

from mpc.testing.bin_subject import BIN_MASKED
from mpc.testing.conformance import check_blame, check_canaries, check_ideal, check_shape

MASKED_CHECKS = {"ideal": check_ideal, "shape": check_shape, "canaries": check_canaries, "blame": check_blame}


@pytest.mark.parametrize("check", MASKED_CHECKS)
@pytest.mark.parametrize("parties", BIN_MASKED.parties)
async def test_the_suite_passes_where_the_feature_holder_counts(check, parties):
    await MASKED_CHECKS[check](BIN_MASKED, parties)
