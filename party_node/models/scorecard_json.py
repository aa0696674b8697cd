"""A party's part of a scorecard as JSON: what it takes to score a table without this software.

The format is documented in docs/scorecard-export.md and as a JSON Schema in docs/schemas. It holds cuts, levels and
points of the party's own characteristics: private to it. Floats survive JSON to the last bit.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mpc.credit.fine_bins import FineBins, LevelBins, NumericBins
from mpc.credit.scorecard import Characteristic, Scale, ScorecardPart
from mpc.errors import LocalError
from mpc.statistics.logistic import F64
from party_node.data.binned_column import bin_codes
from party_node.data.sources.kinds import Kind
from party_node.data.sources.table import Table
from wire.spec.job import PartyName

Finite = Annotated[float, Field(allow_inf_nan=False)]
Bin = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ScaleJson(_Strict):
    """How log-odds become points; equal in all parts of one card."""

    base_score: Finite
    base_odds: Finite
    pdo: Finite
    decimals: int | None


class SpecialJson(_Strict):
    """Cells of exactly this value fall into this bin, whatever the edges say."""

    value: Finite
    bin: Bin


class NumericJson(_Strict):
    """A numeric column. Regular bin i holds edges[i - 1] <= value < edges[i]; `points` has one entry per bin."""

    kind: Literal["numeric"] = "numeric"
    name: str
    edges: list[Finite]
    special: list[SpecialJson]
    missing: Bin | None
    points: list[Finite]


class LevelsJson(_Strict):
    """A column of categories. Bin i holds the levels of groups[i]; `other` is the bin of levels named nowhere."""

    kind: Literal["levels"] = "levels"
    name: str
    groups: list[list[str]]
    other: Bin | None
    missing: Bin | None
    points: list[Finite]


class ScorecardFile(_Strict):
    """The whole file. A cell in no bin (null `missing` or `other`) scores 0 points."""

    format: Literal["joint-credit-risk scorecard part"] = "joint-credit-risk scorecard part"
    version: Literal[1] = 1
    job: str
    party: PartyName
    scale: ScaleJson
    base_points: Finite
    characteristics: list[Annotated[NumericJson | LevelsJson, Field(discriminator="kind")]]

    @classmethod
    def of(cls, part: ScorecardPart, job: str, party: str) -> ScorecardFile:
        """The file of one party's part."""
        scale = part.scale
        return cls(
            job=job,
            party=party,
            scale=ScaleJson(
                base_score=scale.base_score, base_odds=scale.base_odds, pdo=scale.pdo, decimals=scale.decimals
            ),
            base_points=part.base,
            characteristics=[_entry(one) for one in part.characteristics],
        )

    @classmethod
    def parse(cls, text: str | bytes) -> ScorecardFile:
        """Read a file. LocalError: it is not one, or its bins and points do not fit; the text is not quoted."""
        try:
            found = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(step) for step in first["loc"]) or "the file"
            raise LocalError(f"not a scorecard part: {place}: {first['msg']}", "export it again") from None
        found.part()
        return found

    def text(self) -> str:
        """The file's content."""
        return self.model_dump_json(indent=1) + "\n"

    def part(self) -> ScorecardPart:
        """The part itself. LocalError: bins and points do not fit."""
        scale = Scale(self.scale.base_score, self.scale.base_odds, self.scale.pdo, self.scale.decimals)
        entries = [Characteristic(one.name, _bins(one), tuple(one.points)) for one in self.characteristics]
        return ScorecardPart(scale, self.base_points, tuple(entries))

    @property
    def kinds(self) -> dict[str, Kind]:
        """The `kinds` argument with which `read_table` reads a table to be scored."""
        return {
            one.name: Kind.NUMERIC if isinstance(one, NumericJson) else Kind.TEXT for one in self.characteristics
        }


def points_of(part: ScorecardPart, table: Table) -> F64:
    """Points of every row per characteristic, [n, m]. DataError: a column is missing or of another kind."""
    codes = {one.name: bin_codes(one.bins, table.column(one.name)) for one in part.characteristics}
    return part.points(codes, table.rows)


def _entry(one: Characteristic) -> NumericJson | LevelsJson:
    bins, points = one.bins, list(one.points)
    if isinstance(bins, NumericBins):
        special = [SpecialJson(value=value, bin=home) for value, home in bins.special]
        return NumericJson(
            name=one.name, edges=list(bins.edges), special=special, missing=bins.missing, points=points
        )
    groups = [list(group) for group in bins.groups]
    return LevelsJson(name=one.name, groups=groups, other=bins.other, missing=bins.missing, points=points)


def _bins(one: NumericJson | LevelsJson) -> FineBins:
    if isinstance(one, NumericJson):
        return NumericBins(tuple(one.edges), tuple((entry.value, entry.bin) for entry in one.special), one.missing)
    return LevelBins(tuple(tuple(group) for group in one.groups), one.other, one.missing)
