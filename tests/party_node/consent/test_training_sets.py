"""Training sets: the same one again, one far from it, and every way to come near an earlier one; two models whose sets
differ by one customer show its outcome, and no two such models come about."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest

from mpc.errors import LocalError
from mpc.group.id_column import IdColumn
from mpc.statistics.logistic import fit_logistic
from party_node.consent.training_sets import TrainingSets, apart
from party_node.data.hold_out import hold_out

KEY, LEAST = b"k" * 32, 20
BASE = [b"customer-%d" % n for n in range(300)]
NEW = [b"newcomer-%d" % n for n in range(300)]


def sets(folder: Path, key: bytes = KEY) -> TrainingSets:
    return TrainingSets(folder, key)


def asked(folder: Path, ids: Sequence[bytes], job: str = "second", held_out: Sequence[bytes] = (), least: int = LEAST,
          hashed: bool = False) -> str | None:
    node = sets(folder)
    return node.accept(job, node.marks(ids, hashed), np.array([one in set(held_out) for one in ids]), least)


NEAR: dict[str, list[bytes]] = {
    "one customer fewer": BASE[:-1],
    "one customer more": [*BASE, NEW[0]],
    "one customer in place of another, as after a table was registered again": [*BASE[1:], NEW[0]],
    "as many in place of others as the minimum lets by": [*BASE[9:], *NEW[:9]],
    "one short of the minimum": BASE[LEAST - 1:],
    "in another order": BASE[::-1][1:],
    "with repeats": [one for one in BASE[1:] for _ in range(3)],
}


@pytest.mark.parametrize("case", NEAR)
def test_a_set_near_an_earlier_one_is_refused_and_not_remembered(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    assert asked(folder, BASE, "first") is None
    assert asked(folder, NEAR[case]) == "in common"
    assert [path.stem for path in folder.iterdir()] == ["first"]


FAR: dict[str, dict[str, Any]] = {
    "the same customers again": {"ids": BASE},
    "the same customers in another order": {"ids": BASE[::-1]},
    "as many fewer as the minimum": {"ids": BASE[LEAST:]},
    "as many in place of others as the minimum": {"ids": [*BASE[:-10], *NEW[:10]]},
    "others": {"ids": NEW},
    "a bank that does not mind": {"ids": BASE[1:], "least": 0},
    "the same customers, many others of them held out": {"ids": BASE, "held_out": BASE[50:100]},
}


@pytest.mark.parametrize("case", FAR)
def test_what_is_equal_or_far_is_accepted(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    assert asked(folder, BASE, "first", BASE[:50]) is None
    assert asked(folder, **{"held_out": BASE[:50]} | FAR[case]) is None
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_either_side_of_a_split_is_compared_by_itself(tmp_path: Path) -> None:
    """A boundary that moved by a few; and a few customers more on one side, among many new ones on the other."""
    assert asked(tmp_path, BASE, "first", BASE[:100]) is None
    assert asked(tmp_path, BASE, held_out=BASE[:105]) == "that train"
    assert asked(tmp_path, [*BASE, *NEW[:50]], held_out=[*BASE[:100], *NEW[:45]]) == "that train"
    assert asked(tmp_path, [*BASE, *NEW[:50]], held_out=[*BASE[:99], NEW[0]]) == "held out"
    assert asked(tmp_path, BASE[:100], held_out=[]) is None, "who trained is not compared with who was held out"


def test_an_id_in_writing_and_its_digest_in_another_table_are_one_customer(tmp_path: Path) -> None:
    digests = [hashlib.sha256(one).hexdigest().encode() for one in BASE]
    assert asked(tmp_path, BASE, "first") is None
    assert asked(tmp_path, digests[1:], hashed=True) == "in common"
    assert np.array_equal(sets(tmp_path).marks(IdColumn.of(BASE), False), sets(tmp_path).marks(digests, True))


def test_every_earlier_job_counts(tmp_path: Path) -> None:
    assert asked(tmp_path, BASE, "first") is None
    assert asked(tmp_path, NEW, "other") is None
    assert asked(tmp_path, BASE[1:]) == "in common"
    assert asked(tmp_path, NEW[1:]) == "in common"


def test_one_draw_with_nearly_the_same_fraction_is_found(tmp_path: Path) -> None:
    """Rows are held out where their word lies below the fraction: a little more holds out a few more."""
    draws = [hold_out(b"s" * 32, 300, 0.3), hold_out(b"s" * 32, 300, 0.31), hold_out(b"t" * 32, 300, 0.3)]
    held = [[one for one, out in zip(BASE, draw, strict=True) if out] for draw in draws]
    assert 0 < len(held[1]) - len(held[0]) < LEAST
    assert asked(tmp_path, BASE, "first", held[0]) is None
    assert asked(tmp_path, BASE, held_out=held[1]) == "that train"
    assert asked(tmp_path, BASE, held_out=held[2]) is None


def test_nothing_that_is_kept_tells_an_id_without_the_key(tmp_path: Path) -> None:
    """Whoever has the file and every id of the country learns nothing: no hash of an id stands in it."""
    assert asked(tmp_path, BASE, "first") is None
    kept = (tmp_path / "first.npz").read_bytes()
    for one in BASE[:50]:
        for text in (one, hashlib.sha256(one).hexdigest().encode()):
            assert text not in kept
            for digest in (hashlib.sha256(text).digest(), hashlib.blake2b(text, digest_size=8).digest()):
                assert digest[:8] not in kept
    other = sets(tmp_path, b"o" * 32).marks(BASE, False)
    assert not set(other.tolist()) & set(sets(tmp_path).marks(BASE, False).tolist())


def test_two_jobs_at_once_do_not_pass_each_other_by(tmp_path: Path) -> None:
    node, gate, told = sets(tmp_path), Barrier(8), []

    def ask(n: int) -> None:
        marks = node.marks(BASE[n:], False)
        gate.wait()
        told.append(node.accept(f"job-{n}", marks, np.zeros(len(marks), np.bool_), LEAST))

    threads = [Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told, key=str) == [None, *["in common"] * 7]


@pytest.mark.parametrize("keep", [0, 2, 60, -1])
def test_a_damaged_set_stops_the_job_and_names_no_other(keep: int, tmp_path: Path) -> None:
    assert asked(tmp_path, BASE, "first") is None
    kept = (tmp_path / "first.npz").read_bytes()
    (tmp_path / "first.npz").write_bytes(kept[:keep])
    with pytest.raises(LocalError, match="cannot be read") as refused:
        asked(tmp_path, BASE)
    assert "first" not in str(refused.value)
    with pytest.raises(LocalError, match="cannot be read"):
        sets(tmp_path).check()


def test_a_flipped_bit_of_a_mark_stops_the_job(tmp_path: Path) -> None:
    assert asked(tmp_path, BASE, "first") is None
    kept = bytearray((tmp_path / "first.npz").read_bytes())
    kept[len(kept) // 4] ^= 1
    (tmp_path / "first.npz").write_bytes(kept)
    with pytest.raises(LocalError, match="cannot be read"):
        asked(tmp_path, BASE)


def test_sets_under_another_secret_and_of_an_earlier_release_stop_the_job(tmp_path: Path) -> None:
    assert asked(tmp_path, BASE, "first") is None
    sets(tmp_path).check()
    node = sets(tmp_path, b"o" * 32)
    with pytest.raises(LocalError, match="another secret"):
        node.check()
    with pytest.raises(LocalError, match="another secret"):
        node.accept("second", node.marks(BASE, False), np.zeros(len(BASE), np.bool_), LEAST)
    (tmp_path / "first.npz").unlink()
    np.savez_compressed(tmp_path / "old.npz", bits=np.zeros(3, np.uint8), table=np.array("a" * 64),
                        parties=np.array(["bank"]))
    for step in (sets(tmp_path).check, lambda: asked(tmp_path, BASE)):
        with pytest.raises(LocalError, match="earlier release"):
            step()


def test_a_set_that_cannot_be_noted_stops_the_job(tmp_path: Path) -> None:
    (tmp_path / "sets").write_text("in the way")
    with pytest.raises(LocalError, match="could not be noted"):
        asked(tmp_path / "sets", BASE)


@pytest.mark.parametrize(("one", "other", "difference"), [
    ([], [], 0), ([1, 2], [], 2), ([1, 2, 5], [2, 5], 1), ([1, 3], [2, 4], 4), ([0, 2**64 - 1], [2**64 - 1], 1)])
def test_sets_differ_by_what_is_in_one_of_them(one: list[int], other: list[int], difference: int) -> None:
    arrays = [np.array(values, np.uint64) for values in (one, other)]
    assert apart(*arrays) == apart(*arrays[::-1]) == difference


# ---------------------------------------------------------------- the attack: two partners pool

SIZE, COLUMNS, TARGETS = 600, 6, 40


class Chance:
    """A population whose columns the two partners have alike, and whose outcomes the bank alone has."""

    def __init__(self) -> None:
        draw = np.random.default_rng(7)
        self.block = np.column_stack([np.ones(SIZE), draw.normal(size=(SIZE, COLUMNS))])
        risk = self.block @ np.append(-1.2, draw.normal(size=COLUMNS) * 0.4)
        self.bad = draw.random(SIZE) < 1 / (1 + np.exp(-risk))
        self.targets = draw.choice(SIZE, TARGETS, replace=False)
        self.ids = [b"id-%d" % n for n in range(SIZE)]

    def weights(self, rows: Any) -> Any:
        return fit_logistic(self.block[rows], self.bad[rows], 1e-3, 0).weights

    def guessed(self, whole: Any, target: int, less: Any | None) -> bool:
        """Which of the two outcomes of the target fits the weights that the partners have of their columns better."""
        x = self.block[target]
        if less is None:
            return bool(x @ whole > 0)
        others = np.delete(np.arange(SIZE), target)
        sigma = 1 / (1 + np.exp(-self.block[others] @ less))
        hessian = (self.block[others].T * (sigma * (1 - sigma))) @ self.block[others]
        moved = hessian @ (whole - less)          # a Newton step from the one optimum: x (y - sigma), about
        return bool(moved @ x > 0)


def attack(folders: Sequence[Path]) -> tuple[int, int, int]:
    """{bank, shop} on all customers, then {bank, telco} on all but the target, `folders`: what the bank compares either
    with. Returns how many second models ran, how many outcomes are told right, and how many a guess without them."""
    world, ran, right, blind = Chance(), 0, 0, 0
    everyone = np.arange(SIZE)
    whole = world.weights(everyone)
    assert asked(folders[0], world.ids, "shop") is None
    for target in world.targets.tolist():
        rows = np.delete(everyone, target)
        accepted = asked(folders[1], [world.ids[n] for n in rows], f"telco-{target}") is None
        ran += accepted
        right += world.guessed(whole, target, world.weights(rows) if accepted else None) == world.bad[target]
        blind += world.guessed(whole, target, None) == world.bad[target]
        (folders[1] / f"telco-{target}.npz").unlink(missing_ok=True)   # the partners try one target, not all in a row
    return ran, right, blind


def test_partners_who_pool_get_no_second_model_and_are_left_with_the_guess(tmp_path: Path) -> None:
    ran, right, blind = attack([tmp_path / "sets"] * 2)
    assert ran == 0
    assert right == blind


def test_where_partners_are_not_compared_the_same_attack_reads_the_outcomes(tmp_path: Path) -> None:
    """The control: what each partner set trained on is remembered apart, as it was."""
    ran, right, blind = attack([tmp_path / "shop", tmp_path / "telco"])
    assert ran == TARGETS
    assert right >= 0.9 * TARGETS > blind
