"""The job spec: one canonical form, bounds that nobody may sign away, and foreign bytes that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.spec.columns import BinningSpec
from wire.spec.job import JobSpec, SpecError, canonical, decode_spec, encode_spec, job_id

NOW = 1_700_000_000


def plain() -> dict[str, Any]:
    """A good spec as plain values."""
    def party(name: str, role: str, digit: str, columns: list[str]) -> dict[str, Any]:
        return {"id": name, "role": role, "identity": digit * 64, "dataset": "loans", "dataset_digest": "d" * 64,
                "columns": columns, "id_columns": ["customer"]}

    return {
        "purpose": "credit risk", "nonce": "1" * 64, "valid_from": NOW, "valid_until": NOW + 3600,
        "protocols": {"align": 1, "train": 1},
        "parties": [party("bank-a", "label_holder", "a", ["income", "age"]),
                    party("shop", "feature_holder", "b", ["basket"])],
        "label": {"column": "bad"}, "reveal": ["score.sum", "train.weights"],
    }


def good() -> JobSpec:
    return JobSpec.model_validate(plain())


def whole() -> dict[str, Any]:
    """The canonical document, defaults included, as plain values."""
    return dict(json.loads(encode_spec(good())))


def test_a_spec_survives_its_bytes_and_its_id_is_theirs() -> None:
    data = encode_spec(good())
    assert decode_spec(data) == good()
    assert encode_spec(decode_spec(data)) == data
    assert len(job_id(data)) == 64
    assert job_id(data) != job_id(data + b" ")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_other_bytes_pass_under_the_same_id(place: int, change: int) -> None:
    data = bytearray(encode_spec(good()))
    data[place % len(data)] ^= change
    try:
        spec = decode_spec(bytes(data))
    except SpecError:
        return
    assert encode_spec(spec) == bytes(data)  # a different spec, canonical, and so with another id
    assert job_id(bytes(data)) != job_id(encode_spec(good()))


def spoil(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set `a.0.b` of the document."""
    def change(document: dict[str, Any]) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in way:
            document = document[part]
        document[last] = value

    return change


def binned(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """The spec with bins, one of whose rules is another."""
    return lambda spec: spec.update(binning=BinningSpec().model_dump(mode="json") | changes)


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a key of 512 bits": (spoil("crypto.key_bits", 512), "key_bits"),
    "a key of 1024 bits": (spoil("crypto.key_bits", 1024), "key_bits"),
    "an intersection minimum of 0": (spoil("minimum_intersection", 0), "minimum_intersection"),
    "an intersection minimum of 99": (spoil("minimum_intersection", 99), "minimum_intersection"),
    "one iteration": (spoil("training.iterations", 1), "iterations"),
    "no penalty": (spoil("training.penalty", 0.0), "penalty"),
    "less than no noise": (spoil("training.noise", -1.0), "noise"),
    "a filling so large that its square is none": (spoil("preparation.constant", 1e200), "constant"),
    "a leverage bound of 0": (spoil("preparation.leverage_bound", 0.0), "leverage_bound"),
    "bins whose good and bad customers may be one": (binned(minimum_outcome=0), "minimum_outcome"),
    "bins of any size": (binned(minimum_cell=0), "minimum_cell"),
    "counts of fine bins at the feature holder": (binned(counts_at="feature_holder"), "label holder alone counts"),
    "counts of fine bins where they are anyway": (binned(counts_at="label_holder"), "label holder alone counts"),
    "bins without number": (binned(fine_bins=1000), "fine_bins"),
    "a special value twice": (binned(special_values=[-1.0, -1.0]), "given twice"),
    "a special value that is no number": (binned(special_values=[1e200]), "special_values"),
    "a trend of a column that is not there": (
        lambda d: (d.update(binning=BinningSpec().model_dump(mode="json")),
                   d["parties"][1].update(trends={"income": "peak"})), "trends"),
    "a trend where nothing is binned": (spoil("parties.1.trends", {"basket": "peak"}), "trends"),
    "another engine": (spoil("crypto.engine", "debug"), "engine"),
    "an unknown field": (spoil("backdoor", True), "backdoor"),
    "an unknown field of a party": (spoil("parties.0.sql", "select"), "sql"),
    "a number as text": (spoil("training.iterations", "20"), "iterations"),
    "one party": (lambda d: d["parties"].pop(), "parties"),
    "two label holders": (spoil("parties.1.role", "label_holder"), "exactly one"),
    "no label holder": (spoil("parties.0.role", "feature_holder"), "exactly one"),
    "parties out of order": (lambda d: d["parties"].reverse(), "order of their ids"),
    "a party twice": (spoil("parties.1.id", "bank-a"), "once each"),
    "one identity key for two": (spoil("parties.1.identity", "a" * 64), "identity key"),
    "a party id in capitals": (spoil("parties.0.id", "BANK-A"), "parties.0.id"),
    "a column twice": (spoil("parties.0.columns", ["age", "age"]), "columns of bank-a"),
    "the id as a feature": (spoil("parties.1.columns", ["customer"]), "columns of shop"),
    "the label as a feature": (spoil("parties.0.columns", ["bad"]), "columns of bank-a"),
    "weights that are a feature": (spoil("label.weights", "age"), "columns of bank-a"),
    "one column for weights and offset": (
        lambda d: d["label"].update(weights="w", offset="w"), "columns of bank-a"),
    "an offset that is the label": (spoil("label.offset", "bad"), "columns of bank-a"),
    "weights that are the id": (spoil("label.weights", "customer"), "columns of bank-a"),
    "a weight of any size": (spoil("label.largest_weight", 1e6), "largest_weight"),
    "class weights of another kind": (spoil("label.class_weights", "auto"), "class_weights"),
    "a class without weight": (spoil("label.class_weights", {"bad": 0.0, "good": 1.0}), "class_weights"),
    "a weight for one class": (spoil("label.class_weights", {"bad": 1.0}), "class_weights"),
    "an alignment with weights": (
        lambda d: (d.update(goal="alignment"), [p.update(columns=[]) for p in d["parties"]],
                   d["label"].update(class_weights="balanced")), "made in one piece"),
    "weights of a job that works ahead": (
        lambda d: (d.update(goal="precompute", reveal=[]), d["label"].update(class_weights="balanced")), "one piece"),
    "an offset beside what was made ahead": (
        lambda d: (d.update(prepared="c" * 64), d["label"].update(offset="o")), "one piece"),
    "a category that is no column": (spoil("parties.0.categorical", ["hat"]), "categorical"),
    "an end before its start": (spoil("valid_until", NOW), "valid_until"),
    "a reveal list out of order": (spoil("reveal", ["train.weights", "score.sum"]), "reveal"),
    "a reveal line twice": (spoil("reveal", ["score.sum", "score.sum"]), "reveal"),
    "curves without metrics": (spoil("release", ["curves"]), "curves"),
    "a release of weights": (spoil("release", ["weights"]), "release"),
    "no hold-out left to train on": (spoil("hold_out.fraction", 0.95), "fraction"),
    "a boundary of no column": (spoil("hold_out.since", "2024-01"), "no column says"),
    "a seed beside a period": (lambda d: d["hold_out"].update(column="vintage", seed="1"), "split by column"),
    "a period of which nothing is held out": (lambda d: d["hold_out"].update(column="vintage", fraction=0.0),
                                              "split by column"),
    "a boundary and a fraction": (lambda d: d["hold_out"].update(column="vintage", since="2024", fraction=0.2),
                                  "leave the fraction out"),
    "the period as a feature": (spoil("hold_out.column", "age"), "columns of bank-a"),
    "the label as a period": (spoil("hold_out.column", "bad"), "columns of bank-a"),
    "a period where all rows of a customer count":
        (lambda d: (d["parties"][0].update(duplicates="keep_all"), d["hold_out"].update(column="vintage")),
         "counts customers"),
    "weights where all rows of a customer count":
        (lambda d: (d["parties"][0].update(duplicates="keep_all"), d["label"].update(weights="w")), "worth so many"),
    "bins where all rows of a customer count":
        (lambda d: (d["parties"][0].update(duplicates="keep_all"), binned()(d)), "bins count customers"),
    "balanced classes where all rows of a customer count":
        (lambda d: (d["parties"][0].update(duplicates="keep_all"), d["label"].update(class_weights="balanced")),
         "worth so many"),
    "a boundary that is a number in signed bytes": (
        lambda d: d["hold_out"].update(column="vintage", since=202401), "canonical"),
    "another version": (spoil("version", 2), "version"),
    "an id of no column": (spoil("parties.0.id_columns", []), "id_columns"),
    "one part of an id twice": (spoil("parties.0.id_columns", ["customer", "customer"]), "columns of bank-a"),
    "an id of another number of parts": (spoil("parties.0.id_columns", ["branch", "account"]), "the id of bank-a"),
    "digests at a party where ids enter in writing": (spoil("parties.1.id_scheme", "sha256"), "shop holds digests"),
    "a model whose members only the label holder knows":
        (spoil("align.output", "label_holder_only"), "every party to know its rows"),
    "a model from sizes": (spoil("align.output", "sizes_only"), "every party to know its rows"),
    "columns in an alignment": (spoil("goal", "alignment"), "an alignment uses no columns"),
    "all rows of a feature holder": (spoil("parties.1.duplicates", "keep_all"), "keep_all is for the label holder"),
    "correlations where a customer's rows repeat":
        (lambda d: (d["parties"][0].update(duplicates="keep_all"), d.update(correlate={})), "counts customers"),
    "pairs that are nearly the matrix": (spoil("correlate", {"threshold": 0.01}), "threshold"),
    "inflation beside two columns": (spoil("correlate", {"show": "inflation"}), "inflation needs 3 columns"),
    "another way to pad": (spoil("align.padding", "twice"), "padding"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nobody_gets_a_signature_for(case: str) -> None:
    change, words = REFUSED[case]
    document = whole()
    change(document)
    with pytest.raises(SpecError, match=words):
        decode_spec(canonical(document))


def rewritten(old: bytes, new: bytes) -> bytes:
    data = encode_spec(good())
    assert data.count(old) >= 1
    return data.replace(old, new, 1)


NOT_CANONICAL: dict[str, Callable[[], bytes]] = {
    "a blank": lambda: rewritten(b":", b": "),
    "keys in another order": lambda: json.dumps(dict(reversed(whole().items())), separators=(",", ":")).encode(),
    "a default left out": lambda: canonical({k: v for k, v in whole().items() if k != "crypto"}),
    "a key twice": lambda: rewritten(b'"version":1', b'"version":1,"version":1'),
    "a key twice inside": lambda: rewritten(b'"key_bits":3072', b'"key_bits":2048,"key_bits":3072'),
    "NaN": lambda: rewritten(b'"tolerance":0.03', b'"tolerance":NaN'),
    "infinity": lambda: rewritten(b'"tolerance":0.03', b'"tolerance":Infinity'),
    "a number that overflows": lambda: rewritten(b'"tolerance":0.03', b'"tolerance":1e999'),
    "the same number written otherwise": lambda: rewritten(b'"tolerance":0.03', b'"tolerance":3e-2'),
    "an escaped letter": lambda: rewritten(b"credit risk", b"\\u0063redit risk"),
    "half a surrogate pair": lambda: rewritten(b"credit risk", b"\\ud800"),
    "a number of five thousand digits": lambda: rewritten(b'"tolerance":0.03', b'"tolerance":' + b"9" * 5000),
    "an unknown field with an endless name": lambda: canonical(whole() | {"x" * 100_000: 1}),
    "no JSON": lambda: b"spec",
    "no UTF-8": lambda: b"\xff\xfe",
    "an empty document": lambda: b"",
    "a list": lambda: b"[]",
    "ten thousand brackets": lambda: b"[" * 10_000 + b"]" * 10_000,
    "more than a megabyte": lambda: canonical(whole() | {"purpose": "x" * (1 << 20)}),
    "a byte order mark": lambda: b"\xef\xbb\xbf" + encode_spec(good()),
}


@pytest.mark.parametrize("case", NOT_CANONICAL)
def test_only_canonical_bytes_are_a_spec(case: str) -> None:
    with pytest.raises(SpecError) as caught:
        decode_spec(NOT_CANONICAL[case]())
    assert len(str(caught.value)) < 300


def test_a_refusal_does_not_repeat_the_value() -> None:
    document = whole()
    document["parties"][0]["dataset_digest"] = "canary-5f1e"
    with pytest.raises(SpecError) as caught:
        decode_spec(canonical(document))
    assert "canary-5f1e" not in str(caught.value)


def test_roles_and_parts_are_found_by_name() -> None:
    spec = good()
    assert spec.label_holder.id == "bank-a"
    assert spec.party("shop").columns == ["basket"]
    with pytest.raises(SpecError, match="telecom is not a party"):
        spec.party("telecom")
