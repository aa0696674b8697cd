"""A model's job in two halves that all sign one after the other: what can be made ahead, and the round itself.

The first half (goal `precompute`) aligns, prepares and makes all correlations; the second names it (`prepared`) and
does the rest. Everything in the two specs is equal but what each is for, what it opens, and when it is in force.
"""

from __future__ import annotations

from typing import Any

from wire.spec.job import AHEAD, JobSpec, canonical

OWN = ("goal", "prepared", "nonce", "valid_from", "valid_until", "reveal", "release")   # fields of each half
ONLINE_RELEASE = ("metrics", "curves")


def first_half(spec: JobSpec) -> JobSpec:
    """The job that makes ahead what the model's job `spec` can do without."""
    return _changed(
        spec, goal="precompute", reveal=[code for code in spec.reveal if _is_ahead(code)],
        release=[kind for kind in spec.release if kind not in ONLINE_RELEASE],
    )


def second_half(spec: JobSpec, prepared: str) -> JobSpec:
    """The model's job `spec`, on what the job `prepared` has made ahead."""
    return _changed(spec, prepared=prepared, reveal=[code for code in spec.reveal if not _is_ahead(code)])


def difference(first: JobSpec, second: JobSpec) -> str | None:
    """The first field in which two halves differ and must not."""
    one, other = (spec.model_dump(mode="json", exclude=set(OWN)) for spec in (first, second))
    return _differing(one, other, "")


def _is_ahead(code: str) -> bool:
    return code.partition(".")[0] in AHEAD


def _changed(spec: JobSpec, **changes: Any) -> JobSpec:
    return JobSpec.model_validate_json(canonical(spec.model_dump(mode="json") | changes))


def _differing(one: Any, other: Any, name: str) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        found = (_differing(one[key], other[key], f"{name}.{key}".lstrip(".")) for key in one)
    elif isinstance(one, list) and isinstance(other, list) and name == "parties" and len(one) == len(other):
        found = (_differing(a, b, f"parties.{a['id']}") for a, b in zip(one, other, strict=True))
    else:
        return None if one == other else name
    return next((field for field in found if field is not None), None)
