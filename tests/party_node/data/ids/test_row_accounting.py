"""Every row of a messy table is in exactly one count: read = matched + unmatched + duplicate + blank + refused.

The counts of each fixture were made by hand and stand beside it. Tables are files as they come: byte order marks,
UTF-16, bytes of two encodings, several columns, digests; both engines; all policies for repeated ids; with padding and
without.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc.link import PartyId
from mpc.protocols import align, align_terms
from mpc.protocols.align import AlignOptions
from mpc.testing.memory_link import Network, party, run_roles
from party_node.data.ids.accounting import DuplicatePolicy, IdCounts, IdRules, IdScheme, IdSet, read_ids
from party_node.data.ids.normalisation import IdProfile
from party_node.table_errors import DataError

BANK, SHOP = PartyId("bank"), PartyId("shop")
FIRST, REFUSE, KEEP_ALL = DuplicatePolicy.FIRST, DuplicatePolicy.REFUSE, DuplicatePolicy.KEEP_ALL
PLAIN, PHONE, NATIONAL, EMAIL = IdProfile.PLAIN, IdProfile.PHONE, IdProfile.NATIONAL_ID, IdProfile.EMAIL
Rows = Sequence[tuple[str, ...]]
ONE_PLAIN = IdRules()


@dataclass(frozen=True)
class Fixture:
    """The bank's rows, each with what becomes of it; the shop's ids; how both are read.

    m: matched, u: unmatched, d: repeats the id of an earlier m, e: of an earlier u, b: blank, r: refused.
    """

    rows: Sequence[tuple[str, tuple[str, ...]]]
    shop: Rows
    rules: IdRules = ONE_PLAIN
    shop_rules: IdRules | None = None

    def counts(self, policy: DuplicatePolicy) -> IdCounts:
        """As they are expected."""
        kinds = [kind for kind, _ in self.rows]
        kept = policy is KEEP_ALL
        return IdCounts(
            read=len(kinds),
            matched=kinds.count("m") + kept * kinds.count("d"),
            unmatched=kinds.count("u") + kept * kinds.count("e"),
            duplicate=0 if kept else kinds.count("d") + kinds.count("e"),
            blank=kinds.count("b"), refused=kinds.count("r"),
        )


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


FIXTURES = {
    "spellings, blanks and whole numbers that were floats": Fixture([
        ("m", ("A-1",)), ("d", (" a-1 ",)), ("d", ("\uff21\uff0d\uff11",)), ("m", ("Jos\u00e9",)), ("m", ("4711.0",)),
        ("d", ("4711",)), ("u", ("C-3",)), ("e", ("c-3",)), ("b", ("",)), ("b", ("   ",)), ("b", ("NULL",)),
        ("b", ("n/a",)), ("b", ("NaN",)), ("b", ("\u200b",)), ("r", ("x" * 300,)), ("u", ("0",)), ("m", ("\u00d8-9",)),
        ("u", ("a,1",)), ("u", ('say "hi"',)), ("e", ("A,1",)),
    ], [("a-1",), ("jose\u0301",), ("4711",), ("\u00f8-9",), ("D-4",), ("",)]),
    "phones": Fixture([
        ("m", ("+47 912-34-567",)), ("d", ("0047 91234567",)), ("d", ("(+47) 912.34.567",)), ("r", ("12345",)),
        ("r", ("1234567890123456",)), ("b", ("none",)), ("u", ("91234567",)), ("m", ("022 22 33 33",)),
    ], [("4791234567",), ("022223333",), ("55555555",)], IdRules((PHONE,))),
    "national ids": Fixture([
        ("m", ("01.02.03-4567",)), ("d", ("010203 4567",)), ("r", ("123",)), ("r", ("1" * 33,)), ("b", ("N/A",)),
        ("u", ("AB 12 34 56",)), ("e", ("ab123456",)),
    ], [("0102034567",), ("zz999999",)], IdRules((NATIONAL,))),
    "e-mail addresses": Fixture([
        ("m", ("Kari@Bank.No",)), ("d", ("kari@bank.no ",)), ("u", ("kari+loan@bank.no",)), ("r", ("kari@bank",)),
        ("r", ("bank.no",)), ("r", ("a" * 250 + "@b.no",)), ("b", ("",)),
    ], [("kari@bank.no",), ("ola@bank.no",)], IdRules((EMAIL,))),
    "two columns": Fixture([
        ("m", ("a,b", "c")), ("u", ("a", "b,c")), ("d", ("A,B", " c")), ("b", ("a", "")), ("b", ("", "c")),
        ("b", ("", "")), ("r", ("x" * 300, "c")), ("e", ("A", "b,C")), ("m", ("ab", "c")), ("u", ("a", "bc")),
    ], [("a,b", "c"), ("ab", "c"), ("q", "r")], IdRules((PLAIN, PLAIN))),
    "digests against ids in writing": Fixture([
        ("m", (sha("a-1"),)), ("d", (sha("a-1").upper(),)), ("u", (sha("b-2"),)), ("b", ("",)), ("r", ("a-1",)),
        ("r", (sha("a-1")[1:],)), ("r", ("g" * 64,)),
    ], [("A-1",), ("C-3",)], IdRules((PLAIN,), IdScheme.SHA256, IdScheme.SHA256),
        IdRules((PLAIN,), IdScheme.WRITTEN, IdScheme.SHA256)),
}


def csv(rows: Rows) -> str:
    quoted = ['"' + '","'.join(cell.replace('"', '""') for cell in row) + '"' for row in rows]
    return "\n".join([",".join(f"id{k}" for k in range(len(rows[0]))), *quoted]) + "\n"


def mixed(text: str) -> bytes:
    """Every other line in Windows-1252, where it can be written so: a file put together from two systems."""
    lines = []
    for number, line in enumerate(text.split("\n")):
        western = line.encode("cp1252", "replace")
        lines.append(western if number % 2 and western.decode("cp1252") == line else line.encode())
    return b"\n".join(lines)


FILES: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16 with a mark": lambda text: text.encode("utf-16"),
    "UTF-16, the other order": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "lines of Windows": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "two encodings": mixed,
}


def read(folder: Path, name: str, rows: Rows, rules: IdRules, policy: DuplicatePolicy,
         written: Callable[[str], bytes] = str.encode, refused: Any = None) -> IdSet:
    path = folder / f"{name}.csv"
    path.write_bytes(written(csv(rows)))
    return read_ids(path, [f"id{k}" for k in range(len(rows[0]))], rules, policy, refused)


def accounted(folder: Path, fixture: Fixture, policy: DuplicatePolicy, written: Callable[[str], bytes],
              engine: Any = "ecdh", padded: bool = False, refused: Any = None) -> IdCounts:
    """The bank's counts after an alignment with the shop, as party_node/jobs/stages/align.py makes them."""
    own = read(folder, "bank", [cells for _, cells in fixture.rows], fixture.rules, policy, written, refused)
    other = read(folder, "shop", fixture.shop, fixture.shop_rules or fixture.rules, FIRST)
    network, options = Network(), AlignOptions(BANK, 1, b"rows are accounted for", engine, padded=padded)
    found = asyncio.run(run_roles({
        me: align.run(party(me), {peer: network.link(me, peer)}, ids, options)
        for me, peer, ids in ((BANK, SHOP, own.ids), (SHOP, BANK, other.ids))
    }))
    assert [own.ids[i] for i in found[BANK]] == [other.ids[i] for i in found[SHOP]]
    return own.aligned(len(own.all_rows(found[BANK]) if policy is KEEP_ALL else found[BANK]))


@pytest.mark.parametrize("written", FILES)
@pytest.mark.parametrize("name", FIXTURES)
def test_every_row_is_counted_as_by_hand_whatever_the_file_looks_like(name: str, written: str, tmp_path: Path) -> None:
    for policy in (FIRST, KEEP_ALL):
        assert accounted(tmp_path, FIXTURES[name], policy, FILES[written]) == FIXTURES[name].counts(policy)


@pytest.mark.parametrize(("engine", "padded"), list(product(["ecdh", "oprf"], [False, True])))
@pytest.mark.parametrize("name", FIXTURES)
def test_engines_and_padding_count_alike(
    name: str, engine: str, padded: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(align_terms, "SMALLEST_BUCKET", 32)
    counts = accounted(tmp_path, FIXTURES[name], FIRST, FILES["UTF-8"], engine, padded)
    assert counts == FIXTURES[name].counts(FIRST)


@pytest.mark.parametrize("name", FIXTURES)
def test_where_repeats_are_refused_their_number_is_told_and_without_them_all_rows_count(
    name: str, tmp_path: Path
) -> None:
    fixture = FIXTURES[name]
    repeats = fixture.counts(FIRST).duplicate
    with pytest.raises(DataError, match=f"^.*{repeats} rows repeat"):
        accounted(tmp_path, fixture, REFUSE, str.encode)
    once = [row for row in fixture.rows if row[0] not in "de"]
    clean = Fixture(once, fixture.shop, fixture.rules, fixture.shop_rules)
    assert accounted(tmp_path, clean, REFUSE, str.encode) == clean.counts(REFUSE) == clean.counts(KEEP_ALL)


@pytest.mark.parametrize("policy", [FIRST, KEEP_ALL])
def test_a_row_without_a_label_is_refused_and_its_id_passes_to_the_next_row(
    policy: DuplicatePolicy, tmp_path: Path
) -> None:
    fixture = FIXTURES["spellings, blanks and whole numbers that were floats"]
    refused = np.array([kind in "mb" for kind, _ in fixture.rows])   # a blank row stays blank
    before, counts = fixture.counts(policy), accounted(tmp_path, fixture, policy, str.encode, refused=refused)
    # Two of the four matched ids have a later row: one repeat twice, the other once.
    assert counts.refused == before.refused + 4
    assert counts.blank == before.blank
    assert counts.matched == (3 if policy is KEEP_ALL else 2)
    assert counts.duplicate == (0 if policy is KEEP_ALL else 1 + 2)
