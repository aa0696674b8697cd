"""Makes tables of institutions that share customers: a bank with the default label and up to four partners.

Everything is drawn from one seed; no real person is behind a row. People have four latent traits (means, burden,
impulse, steadiness); each institution sees some of them through noise, for its own part of the population, with
messy ids, repeated rows and missing values, as real exports have them. Vectorised: a million people take seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

ID, PHONE, LABEL = "customer_id", "phone", "defaulted_12m"
DUPLICATE_SHARE = 0.012
BLANK_SHARE = 0.004
# Odd multipliers that 5 does not divide: i -> (a i + b) mod 10^9 gives every person another number.
_ID_STEP, _PHONE_STEP, _MODULUS = 387_420_489, 612_220_033, 10**9


@dataclass(frozen=True)
class People:
    """Latent traits, one entry per person, mean 0 and variance 1; `age` in years."""

    means: F64
    burden: F64
    impulse: F64
    steadiness: F64
    age: F64


@dataclass(frozen=True)
class Institution:
    """Who its customers are (log-odds of being one) and what it knows of them."""

    members: Callable[[People], F64]
    features: Callable[[People, np.random.Generator], dict[str, pa.Array]]
    useless: tuple[str, ...] = ()


def people(count: int, rng: np.random.Generator) -> People:
    """Draw `count` people; burden and impulse go together, means and steadiness too."""
    common = rng.normal(size=(2, count))
    own = rng.normal(size=(4, count))
    means = 0.5 * common[0] + 0.866 * own[0]
    steadiness = 0.5 * common[0] + 0.866 * own[1]
    burden = 0.5 * common[1] + 0.866 * own[2]
    impulse = 0.5 * common[1] + 0.866 * own[3]
    age = np.clip(41 + 10 * rng.normal(size=count) + 3 * steadiness, 18, 85)
    return People(means, burden, impulse, steadiness, age)


def outcome(who: People, at_bank: NDArray[np.bool_], rate: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Default within 12 months: exactly the share `rate` of the bank's customers with the highest drawn risk."""
    risk = (
        -0.55 * who.means
        + 0.75 * who.burden
        + 0.75 * who.impulse
        - 0.75 * who.steadiness
        + 0.15 * who.burden * who.impulse
        - 0.01 * (who.age - 41)
    )
    drawn = risk + rng.logistic(size=len(risk))
    return np.asarray(drawn > np.quantile(drawn[at_bank], 1 - rate))


def number(values: F64, digits: int, rng: np.random.Generator, missing: float = 0.0) -> pa.Array:
    """Rounded numbers with a share of missing cells."""
    rounded = np.round(values, digits)
    typed = rounded.astype(np.int64) if digits == 0 else rounded
    return pa.array(typed, mask=rng.random(len(values)) < missing)


def category(
    score: F64, names: Sequence[str], rng: np.random.Generator, noise: float = 1.0, missing: float = 0.0
) -> pa.Array:
    """Levels in the order of a noisy score, the middle ones commonest."""
    blurred = score + noise * rng.normal(size=len(score))
    cuts = np.linspace(-1.6, 1.6, len(names) - 1) * np.sqrt(1 + noise**2)
    codes = np.searchsorted(cuts, blurred).astype(np.int32)
    levels = pa.DictionaryArray.from_arrays(pa.array(codes, mask=rng.random(len(score)) < missing), list(names))
    return levels.cast(pa.string())


def bank(who: People, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Applications: means and burden, as far as the applicant tells."""
    n = len(who.age)
    income = np.exp(10.2 + 0.45 * who.means + 0.35 * rng.normal(size=n))
    # The last regions have a handful of customers each: levels that preparation has to merge.
    region = (rng.zipf(2.2, n) - 1) % 40 + 1
    return {
        "age": number(who.age, 0, rng),
        "monthly_income": number(income, 2, rng, 0.06),
        "amount": number(np.exp(9.3 + 0.3 * who.burden + 0.6 * rng.normal(size=n)), 0, rng),
        "debt_to_income": number(np.exp(-1.2 + 0.5 * who.burden + 0.5 * rng.normal(size=n)), 4, rng, 0.02),
        "inquiries_6m": number(rng.poisson(np.exp(0.1 + 0.45 * who.burden)).astype(np.float64), 0, rng),
        "months_in_job": number(np.exp(3.4 + 0.25 * who.steadiness + 0.9 * rng.normal(size=n)), 0, rng, 0.03),
        "employment": category(who.means, ("unemployed", "casual", "employed", "civil servant"), rng, 1.5, 0.01),
        "housing": category(who.means + who.age / 20 - 2, ("with parents", "rents", "mortgage", "owns"), rng, 1.2),
        "region": pc.binary_join_element_wise("region", pc.cast(pa.array(region), pa.string()), " "),
    }


def ecommerce(who: People, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Purchases: impulse above all, some means; and four columns that know nothing of risk."""
    n = len(who.age)
    return {
        "orders_12m": number(rng.poisson(np.exp(2.0 + 0.3 * who.means + 0.2 * who.impulse)).astype(np.float64), 0, rng),
        "mean_basket": number(np.exp(3.8 + 0.4 * who.means + 0.5 * rng.normal(size=n)), 2, rng, 0.02),
        "return_rate": number(1 / (1 + np.exp(2.0 - 0.6 * who.impulse - 0.5 * rng.normal(size=n))), 4, rng),
        "instalment_share": number(1 / (1 + np.exp(1.5 - 0.8 * who.impulse - 0.6 * rng.normal(size=n))), 4, rng, 0.04),
        "night_order_share": number(1 / (1 + np.exp(1.8 - 0.7 * who.impulse - 0.7 * rng.normal(size=n))), 4, rng),
        "months_since_first_order": number(np.exp(3.0 + 0.2 * who.steadiness + 0.7 * rng.normal(size=n)), 0, rng),
        "payment_method": category(who.impulse, ("prepaid", "card", "wallet", "pay later"), rng, 1.0, 0.02),
        "wishlist_items": number(rng.poisson(6.0, n).astype(np.float64), 0, rng),
        "newsletter_opens": number(rng.geometric(0.2, n).astype(np.float64), 0, rng, 0.05),
        "avatar_hue": number(rng.uniform(0, 360, n), 1, rng),
        "browser": category(np.zeros(n), ("amber", "blue", "coral", "dune"), rng),
    }


def telecom(who: People, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Contracts and payments: steadiness above all, some impulse."""
    n = len(who.age)
    return {
        "tenure_months": number(np.exp(3.2 + 0.55 * who.steadiness + 0.5 * rng.normal(size=n)), 0, rng),
        "late_bills_12m": number(
            rng.poisson(np.exp(-0.6 - 0.55 * who.steadiness + 0.35 * who.impulse)).astype(np.float64), 0, rng
        ),
        "number_changes_3y": number(rng.poisson(np.exp(-1.2 - 0.6 * who.steadiness)).astype(np.float64), 0, rng),
        "topup_irregularity": number(np.exp(-0.6 * who.steadiness + 0.6 * rng.normal(size=n)), 3, rng, 0.08),
        "data_gb_month": number(np.exp(2.0 + 0.3 * who.impulse + 0.7 * rng.normal(size=n)), 2, rng),
        "roaming_days": number(rng.poisson(np.exp(0.2 + 0.5 * who.means)).astype(np.float64), 0, rng),
        "plan": category(who.steadiness, ("prepaid", "flex", "contract 12", "contract 24"), rng, 0.9, 0.01),
    }


def utility(who: People, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Power and water bills: steadiness and burden, each column weakly."""
    n = len(who.age)
    return {
        "unpaid_bills_24m": number(
            rng.poisson(np.exp(-1.5 - 0.4 * who.steadiness + 0.3 * who.burden)).astype(np.float64), 0, rng
        ),
        "kwh_month": number(np.exp(5.5 + 0.3 * who.means + 0.4 * rng.normal(size=n)), 1, rng, 0.03),
        "years_at_address": number(np.exp(1.4 + 0.4 * who.steadiness + 0.6 * rng.normal(size=n)), 1, rng),
        "tariff": category(who.means, ("social", "basic", "standard", "green"), rng, 1.3),
        "reminders_24m": number(
            rng.poisson(np.exp(-0.4 - 0.45 * who.steadiness + 0.3 * who.burden)).astype(np.float64), 0, rng
        ),
        "days_to_pay": number(np.exp(2.5 - 0.3 * who.steadiness + 0.5 * rng.normal(size=n)), 0, rng, 0.02),
        "arrears": number(np.exp(3.0 + 0.5 * who.burden + 0.8 * rng.normal(size=n)), 2, rng, 0.05),
        "pays_by": category(who.steadiness, ("cash", "transfer", "debit order"), rng, 1.1, 0.01),
    }


def insurer(who: People, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Policies and claims: impulse and means, each column weakly."""
    n = len(who.age)
    return {
        "claims_3y": number(rng.poisson(np.exp(-1.0 + 0.35 * who.impulse)).astype(np.float64), 0, rng),
        "premium_year": number(np.exp(6.5 + 0.4 * who.means + 0.4 * rng.normal(size=n)), 2, rng, 0.02),
        "lapsed_policies": number(
            rng.poisson(np.exp(-1.4 - 0.4 * who.means + 0.3 * who.impulse)).astype(np.float64), 0, rng
        ),
        "cover": category(who.steadiness, ("liability", "partial", "full"), rng, 1.2),
        "years_insured": number(np.exp(1.6 + 0.5 * who.steadiness + 0.6 * rng.normal(size=n)), 1, rng),
        "missed_instalments_3y": number(
            rng.poisson(np.exp(-0.6 + 0.45 * who.burden + 0.3 * who.impulse)).astype(np.float64), 0, rng
        ),
        "days_overdue": number(np.exp(1.5 + 0.4 * who.impulse + 0.7 * rng.normal(size=n)), 0, rng, 0.03),
        "sum_insured": number(np.exp(10.5 + 0.5 * who.means + 0.5 * rng.normal(size=n)), 0, rng),
    }


INSTITUTIONS: dict[str, Institution] = {
    "bank": Institution(lambda who: 1.5 + 0.02 * (who.age - 41) + 0.2 * who.means, bank),
    "ecommerce": Institution(
        lambda who: 1.2 - 0.04 * (who.age - 41) + 0.2 * who.means,
        ecommerce,
        ("wishlist_items", "newsletter_opens", "avatar_hue", "browser"),
    ),
    "telecom": Institution(lambda who: 1.6 - 0.01 * (who.age - 41), telecom),
    "utility": Institution(lambda who: 1.2 + 0.04 * (who.age - 41), utility),
    "insurer": Institution(lambda who: 0.8 + 0.03 * (who.age - 41) + 0.2 * who.means, insurer),
}


def _numbers(index: Ints, step: int, seed: int) -> pa.Array:
    """A nine-digit number for each person, another for each."""
    values = (index * step + 1_000_003 * (seed % 1000) + 271_828_182) % _MODULUS
    return pc.utf8_lpad(pc.cast(pa.array(values), pa.string()), 9, "0")


def _pick(
    styles: Sequence[pa.Array | pa.Scalar], shares: Sequence[float], rng: np.random.Generator, rows: int
) -> pa.Array:
    return pc.choose(pa.array(rng.choice(len(styles), rows, p=shares)), *styles)


def messy_ids(index: Ints, seed: int, rng: np.random.Generator) -> pa.Array:
    """`CU-ddddddddd` with other case, spaces around, a full-width hyphen; few are blank."""
    rows = len(index)
    clean = pc.binary_join_element_wise("CU-", _numbers(index, _ID_STEP, seed), "")
    lower = pc.utf8_lower(clean)
    styles = [
        clean,
        lower,
        pc.binary_join_element_wise(" ", clean, ""),
        pc.binary_join_element_wise(lower, "  ", ""),
        pc.replace_substring(clean, "-", "\uff0d"),
    ]
    return _with_blanks(_pick(styles, (0.7, 0.12, 0.08, 0.08, 0.02), rng, rows), rng)


def messy_phones(index: Ints, seed: int, rng: np.random.Generator) -> pa.Array:
    """Country code 86 and eleven digits in five spellings; few are blank."""
    digits = pc.binary_join_element_wise("13", _numbers(index, _PHONE_STEP, seed), "")
    first, middle, last = (pc.utf8_slice_codeunits(digits, *cut) for cut in ((0, 3), (3, 7), (7, 11)))
    styles = [
        pc.binary_join_element_wise("86", digits, ""),
        pc.binary_join_element_wise("+86", first, middle, last, " "),
        pc.binary_join_element_wise("0086", first, middle, last, "-"),
        pc.binary_join_element_wise("(86)", first, middle, last, " "),
        pc.binary_join_element_wise("+86 ", first, ".", middle, ".", last, ""),
    ]
    return _with_blanks(_pick(styles, (0.3, 0.3, 0.2, 0.1, 0.1), rng, len(index)), rng)


def _with_blanks(text: pa.Array, rng: np.random.Generator) -> pa.Array:
    blank = rng.random(len(text)) < BLANK_SHARE
    return pc.if_else(
        pa.array(blank),
        _pick([pa.scalar(""), pa.scalar("  "), pa.scalar("n/a")], (0.5, 0.3, 0.2), rng, len(text)),
        text,
    )


def make(
    out: Path, customers: int, seed: int = 1, parties: int = 3, default_rate: float = 0.07, kind: str = "csv"
) -> dict[str, Any]:
    """Write one table per institution and `manifest.json` into `out`; returns the manifest.

    `customers` is the whole population, from which each institution has its own part; about half of it is common
    to three. The manifest says file, id columns, label, features, useless features and rows of each.
    """
    if not 100 <= customers < _MODULUS or not 2 <= parties <= len(INSTITUTIONS) or not 0 < default_rate < 1:
        raise ValueError("100 customers or more, 2 to 5 parties, a default rate between 0 and 1")
    root = np.random.SeedSequence(seed)
    streams = [np.random.default_rng(child) for child in root.spawn(2 + len(INSTITUTIONS))]
    who = people(customers, streams[0])
    out.mkdir(parents=True, exist_ok=True)
    members: dict[str, NDArray[np.bool_]] = {}
    for name, institution in list(INSTITUTIONS.items())[:parties]:
        odds = institution.members(who)
        members[name] = streams[1].random(customers) < 1 / (1 + np.exp(-odds))
    bad = outcome(who, members["bank"], default_rate, streams[1])
    entries: dict[str, Any] = {}
    for name, rng in zip(members, streams[2:], strict=False):
        table, entry = _table(name, who, members[name], bad, seed, rng)
        entry["file"] = f"{name}.{kind}"
        if kind == "parquet":
            arrow_parquet.write_table(table, out / entry["file"])
        else:
            arrow_csv.write_csv(table, out / entry["file"])
        entries[name] = entry
    common = int(np.logical_and.reduce(list(members.values())).sum())
    manifest = {"seed": seed, "customers": customers, "people_in_common": common, "parties": entries}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def _table(
    name: str, who: People, member: NDArray[np.bool_], bad: NDArray[np.bool_], seed: int, rng: np.random.Generator
) -> tuple[pa.Table, dict[str, Any]]:
    """One institution's table in its own order, some rows twice, and its manifest entry."""
    index = np.flatnonzero(member)
    own = People(*(getattr(who, trait)[index] for trait in People.__dataclass_fields__))
    features = INSTITUTIONS[name].features(own, rng)
    again = rng.choice(len(index), int(DUPLICATE_SHARE * len(index)), replace=False)
    order = rng.permutation(np.concatenate([np.arange(len(index)), again]))
    columns = {
        ID: messy_ids(index[order], seed, rng),
        PHONE: messy_phones(index[order], seed, rng),
    }
    if name == "bank":
        columns[LABEL] = pa.array(bad[index][order].astype(np.int8))
    columns |= {feature: values.take(pa.array(order)) for feature, values in features.items()}
    useless = INSTITUTIONS[name].useless
    return pa.table(columns), {
        "id": ID,
        "phone": PHONE,
        "label": LABEL if name == "bank" else None,
        "features": list(features),
        "useless": list(useless),
        "rows": len(order),
    }
