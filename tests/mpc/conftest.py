"""What tests of group elements share: each engine in turn, whatever the number of points."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpc.group import ristretto255
from mpc.kernels.curve import batches as curve


@pytest.fixture(scope="module", params=["libsodium", "lanes"])
def points_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every call of mpc.group.ristretto255 by this engine, even for a single point."""
    if request.param == "lanes" and not curve.available():
        pytest.skip("this processor has no AVX512-IFMA")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MANY_POINTS", "FEW_POINTS"):
            patch.setattr(ristretto255, name, 1 if request.param == "lanes" else 1 << 60)
        yield request.param
