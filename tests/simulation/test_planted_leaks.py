"""A table of leaks, each planted in the production code for one run: the check that it names must turn red."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gmpy2
import numpy as np
import pytest
import structlog

from mpc.correlated_randomness.kinds import Trig
from mpc.credit.binning import Constraints
from mpc.errors import LocalError
from mpc.group import ristretto255
from mpc.link import PartyId
from mpc.paillier.ciphertexts import seal
from mpc.paillier.keys import OwnerBlinder
from mpc.paillier.rerandomisation import GroupBlinder, Rerandomiser
from mpc.products.matrix_vector import HolderProduct
from mpc.protocols import align, bin, score, train
from mpc.ring import RingVector, reduce
from mpc.rng import Rng
from mpc.sets import oprf
from mpc.sharing import opening
from mpc.sharing.opening import open_masked
from mpc.sharing.truncation import TruncationMasks
from mpc.sharing.zero_sharing import ZeroSharing
from mpc.testing.dealer import DealerSource
from mpc.testing.keys import small_key
from mpc.testing.memory_link import Network, party, run_roles
from party_node.jobs.stages import align as align_task
from tests import canaries
from tests.simulation.bench import NAMES, Bench, blocks_of
from tests.simulation.bin_checks import ALL, failures
from tests.simulation.checks import conversation, without
from tests.simulation.consortium import record
from tests.simulation.observer import Recording, observing
from tests.simulation.tables import World

Patch = pytest.MonkeyPatch
TRAINING: Any = train   # its imports too
ROWS = 66


# ---------------------------------------------------------------- runs


def train_two(_: Path) -> Recording:
    return Bench(real=True).run(blocks_of(2, ROWS, 5))


def train_two_ideal(_: Path) -> Recording:
    return Bench().run(blocks_of(2, ROWS, 5))


def train_three_ideal(_: Path) -> Recording:
    return Bench().run(blocks_of(3, ROWS, 5))


def align_two(_: Path) -> Recording:
    return _in_memory(("bank", "shop"), partial(_aligning, "ecdh"))


def align_two_oprf(_: Path) -> Recording:
    oprf.warm()   # compiling takes longer than a party waits
    return _in_memory(("bank", "shop"), partial(_aligning, "oprf"))


def align_three_oprf(_: Path) -> Recording:
    oprf.warm()
    return _in_memory(NAMES, partial(_aligning, "oprf"))


def score_three(_: Path) -> Recording:
    return _in_memory(NAMES, _scoring)


def bin_two(_: Path) -> Recording:
    return _in_memory(("bank", "shop"), _binning)


def bin_two_small(_: Path) -> Recording:
    return _in_memory(("bank", "shop"), partial(_binning, cell=3))


def whole_job(folder: Path) -> Recording:
    return record(folder / "all", World(("bank", "shop"), 1))


def _in_memory(names: tuple[str, ...], role: Callable[..., Any]) -> Recording:
    recording, network = Recording(names, names[0]), Network(timeout_s=5.0)

    async def all_roles() -> None:
        links = {name: {PartyId(p): network.link(name, p) for p in names if p != name} for name in names}
        await run_roles({name: role(party(name, 3), links[name]) for name in names})

    with observing(recording):
        try:
            asyncio.run(all_roles())
        except Exception as error:
            recording.error = error
    recording.messages = network.transcript
    return recording


async def _aligning(engine: Any, me: Any, peers: Any) -> Any:
    mixed = [canaries.canary_id(k).encode() for k in range(140 if me.id == "bank" else 130)]
    ids = [mixed[i] for i in np.random.default_rng(len(mixed)).permutation(len(mixed))]
    options = align.AlignOptions(PartyId("bank"), 5, b"session of the test", engine=engine)
    return await align.run(me, peers, ids, options)


async def _scoring(me: Any, peers: Any) -> Any:
    partial = Rng(bytes(32)).child(me.id).ring(40)
    return await score.run(me, peers, partial, score.ScoreOptions(PartyId("bank"), 40, 1))


async def _binning(me: Any, peers: Any, cell: int = 6) -> Any:
    """A hundred columns of four bins, the last with no bad customer, under a short key; `cell`: rows of the smallest
    bin, of which six are agreed."""
    draw = np.random.default_rng(9)
    labels = draw.permutation(np.arange(ROWS) < 30)
    bare = np.flatnonzero(~labels)[:10]
    columns = []
    for _ in range(100):
        codes = np.repeat(np.arange(3), ROWS // 3)[draw.permutation(ROWS)]
        codes[bare], codes[np.flatnonzero(labels)[:cell]] = 3, 4
        columns.append(bin.Column(codes.astype(np.uint8), 4, 5))
    limits = Constraints(minimum_rows=6, minimum_share=0.0, minimum_good=2, minimum_bad=2)
    options = bin.BinOptions(PartyId("bank"), ROWS, {PartyId("shop"): 100}, 24, limits, 0.0, 256)
    if me.id == "bank":
        return await bin.run_label_holder(me, peers, labels, options, small_key(256))
    return await bin.run_feature_holder(me, peers[PartyId("bank")], columns, options)


# ---------------------------------------------------------------- leaks


def randomiser_one(patch: Patch) -> None:
    patch.setattr(OwnerBlinder, "factors", lambda self, rng, count: self._key.public.ring.load([1] * count))


def randomiser_reused(patch: Patch) -> None:
    original = OwnerBlinder.factors
    patch.setattr(OwnerBlinder, "factors", lambda self, rng, count: self._key.public.ring.concat(
        [original(self, rng, 1)] * count))


def no_rerandomisation(patch: Patch) -> None:
    patch.setattr(Rerandomiser, "seal", lambda self, vector: seal(self._key, vector.residues))


def squares_only(patch: Patch) -> None:
    def narrow(self: GroupBlinder, rng: Rng, count: int) -> Any:
        return self._tables.pow(rng.packed_bits(self._bits, count).tobytes())

    patch.setattr(GroupBlinder, "factors", narrow)


class ShortExponents(Rng):
    """Of every row only eight bits and the last byte."""

    def packed_bits(self, bits: int, count: int) -> Any:
        rows = super().packed_bits(bits, count)
        rows[:, 1:-1] = 0
        return rows


def short_exponent(patch: Patch) -> None:
    original = GroupBlinder.factors

    def short(self: GroupBlinder, rng: Rng, count: int) -> Any:
        return original(self, ShortExponents(rng.bytes(32)), count)

    patch.setattr(GroupBlinder, "factors", short)


def mask_reused(patch: Patch) -> None:
    def mask(self: HolderProduct, t: int, share: Any) -> RingVector:
        return RingVector(reduce(share - self._masks[0], self.plan.ring_bits), self.plan.ring_bits)

    patch.setattr(HolderProduct, "mask", mask)


def mask_dropped(patch: Patch) -> None:
    patch.setattr(HolderProduct, "mask", lambda self, t, share: RingVector(share, self.plan.ring_bits))


def rho_skipped(patch: Patch) -> None:
    original = DealerSource.trig

    async def bare(self: DealerSource, me: Any, count: int) -> Trig:
        trig = await original(self, me, count)
        return Trig(np.zeros_like(trig.rho), trig.cosines, trig.sines)

    patch.setattr(DealerSource, "trig", bare)


def residual_opened_as_delta(patch: Patch) -> None:
    original = train._backward

    async def leaky(state: Any, t: int, e: Any) -> Any:
        await TRAINING.open_masked(state.me, state.peers, RingVector(e, 64), "train.gradient")
        return await original(state, t, e)

    patch.setattr(train, "_backward", leaky)


def truncation_mask_dropped(patch: Patch) -> None:
    original = TruncationMasks.take
    patch.setattr(TruncationMasks, "take", lambda self, count: tuple(0 * part for part in original(self, count)))


def unblinded_ids(patch: Patch) -> None:
    patch.setattr(align, "blind", lambda ids, label, secret: ristretto255.hash_to_group(ids, label))


def unshuffled_ids(patch: Patch) -> None:
    patch.setattr(Rng, "permutation", lambda self, count: np.arange(count))


def tags_as_in_the_table(patch: Patch) -> None:
    """Ids in one bin stand as they come, and so the leader lists what is common."""
    unshuffled_ids(patch)
    patch.setattr(oprf, "bins_of", lambda words: np.zeros(len(words), np.int64))


def bare_store(patch: Patch) -> None:
    """Neither F nor shares of zero (which one peer alone could take off) hide a store from whoever tries an id."""
    patch.setattr(ZeroSharing, "function", lambda self, label, points: np.zeros(len(points), np.uint64))
    patch.setattr(oprf.Outputs, "words", lambda self, purpose, rows=slice(None): 0 * self._states[rows])


def id_in_a_log_line(patch: Patch) -> None:
    def chatty(*_: Any) -> Any:
        structlog.get_logger("align").warning("reading", what=f"first customer: {canaries.canary_id(0)}")
        raise LocalError("enough for this test")

    patch.setattr(align_task, "read_ids", chatty)


def label_in_an_error_text(patch: Patch) -> None:
    def chatty(*_: Any) -> Any:
        raise LocalError(f"the outcome {canaries.NEGATIVE!r} is not understood")

    patch.setattr(align_task, "read_label", chatty)


def no_zero_sharing(patch: Patch) -> None:
    async def same(me: Any, peers: Any, share: Any) -> Any:
        return share

    patch.setattr(opening, "refreshed", same)


def weights_to_all(patch: Patch) -> None:
    release = train._release

    async def generous(state: Any, point: Any) -> Any:
        for part in state.sizes.slices.values():
            await TRAINING.open_masked(state.me, state.peers, RingVector(point[part], 64), "train.gradient")
        return await release(state, point)

    patch.setattr(train, "_release", generous)


def bins_of_any_size(patch: Patch) -> None:
    patch.setattr(bin, "check_columns", lambda columns, options, party: None)


def bare_bins_are_told(patch: Patch) -> None:
    def as_they_are(self: Any, counts: Any, trend: Any) -> bin.Told:
        return bin.Told(tuple(range(len(counts.bad))), tuple(counts.good.tolist()), tuple(counts.bad.tolist()))

    patch.setattr(bin.BinOptions, "told", as_they_are)


def rows_among_the_totals(patch: Patch) -> None:
    original = bin.room

    def telling(columns: Any, options: Any, party: Any) -> Any:
        totals = original(columns, options, party)
        totals.reshape(-1)[-options.rows:] = columns[0].codes
        return totals

    patch.setattr(bin, "room", telling)
    patch.setattr(bin.Disguise, "apply", lambda self, columns, c: columns[c])


@dataclass(frozen=True)
class Leak:
    """What is planted, in which run, and which check must see it."""

    plant: Callable[[Patch], None]
    run: Callable[[Path], Recording]
    check: str


LEAKS = {
    "encryption with r = 1": Leak(randomiser_one, train_two, "randomness_is_fresh"),
    "one randomiser for many ciphertexts": Leak(randomiser_reused, train_two, "randomness_is_fresh"),
    "replies are not re-randomised": Leak(no_rerandomisation, train_two, "exponents_cannot_be_confirmed"),
    "replies are re-randomised by squares only": Leak(squares_only, train_two, "jacobi_symbols_are_fair_coins"),
    "replies are re-randomised with short exponents": Leak(short_exponent, train_two, "exponents_cannot_be_confirmed"),
    "one product mask for all iterations": Leak(mask_reused, train_two_ideal, "masks_serve_once"),
    "the share itself is sent instead of its masked form":
        Leak(mask_dropped, train_two_ideal, "masked_values_are_uniform"),
    "the log-odds are opened without their random angle":
        Leak(rho_skipped, train_three_ideal, "masked_values_are_uniform"),
    "residuals are opened under a line for masked values":
        Leak(residual_opened_as_delta, train_two_ideal, "masked_values_are_uniform"),
    "gradients are truncated without a mask":
        Leak(truncation_mask_dropped, train_three_ideal, "masked_values_are_uniform"),
    "ids are hashed and not blinded": Leak(unblinded_ids, align_two, "canaries_stay_at_home"),
    "ids leave in the order of the table": Leak(unshuffled_ids, align_two, "rows_travel_shuffled"),
    "common customers are listed in the order of the leader's table":
        Leak(tags_as_in_the_table, align_two_oprf, "rows_travel_shuffled"),
    "a store of ids goes out without its pseudo-random function":
        Leak(bare_store, align_three_oprf, "masked_values_are_uniform"),
    "an id in a log line": Leak(id_in_a_log_line, whole_job, "canaries_stay_at_home"),
    "a label in an error text": Leak(label_in_an_error_text, whole_job, "canaries_stay_at_home"),
    "partial scores of three parties without shares of zero":
        Leak(no_zero_sharing, score_three, "canaries_stay_at_home"),
    "labels are encrypted with r = 1": Leak(randomiser_one, bin_two, "randomness_is_fresh"),
    "sums of labels are not re-randomised": Leak(no_rerandomisation, bin_two, "bins_cannot_be_confirmed"),
    "a bin of three customers is counted": Leak(bins_of_any_size, bin_two_small, "bins_keep_the_minimum"),
    "a bin without a bad customer is told as it is": Leak(bare_bins_are_told, bin_two, "bins_keep_the_minimum"),
    "the bins of rows stand among the totals": Leak(rows_among_the_totals, bin_two, "canaries_stay_at_home"),
    "weights are opened to all": Leak(weights_to_all, train_two_ideal, "others_never_hold_my_weights"),
}
RUNS = {leak.run for leak in LEAKS.values()} - {whole_job, bin_two_small}   # whole jobs: test_recorded_jobs.py


@pytest.mark.parametrize("sentence", LEAKS)
def test_a_planted_leak_turns_its_check_red(sentence: str, tmp_path: Path, monkeypatch: Patch) -> None:
    canaries.exempt(tmp_path)
    leak = LEAKS[sentence]
    leak.plant(monkeypatch)
    recording = leak.run(tmp_path)
    monkeypatch.undo()
    assert ALL[leak.check](recording), f"{leak.check} missed: {sentence}"


@pytest.mark.parametrize("run", sorted(RUNS, key=str))
def test_the_same_run_without_a_leak_is_green(run: Callable[[Path], Recording], tmp_path: Path) -> None:
    recording = run(tmp_path)
    assert recording.error is None
    assert recording.messages
    assert failures(recording) == []


def test_a_spy_finds_a_16_bit_exponent_by_trying_all_only_where_replies_are_not_rerandomised(
    monkeypatch: Patch
) -> None:
    """The spy holds the key and knows all exponents of a row but one."""
    honest = _candidates_that_fit(train_two(Path()))
    no_rerandomisation(monkeypatch)
    leaky = _candidates_that_fit(train_two(Path()))
    assert honest == (set(), honest[1])
    assert leaky == ({leaky[1]}, leaky[1])


def _candidates_that_fit(recording: Recording) -> tuple[set[int], int]:
    powers = next(p for p in recording.powers if not p.packed and p.channel.startswith("/backward"))
    inputs, replies = conversation(recording, powers)
    n = recording.keys[powers.key_owner].public.n
    bases, exponents = powers.of_reply(0, len(inputs))
    truth, secret = exponents.tolist(), int(exponents[0])
    left = without(n, [inputs[b] for b in bases], [0, *truth[1:]], replies[0])
    one, fit = 1, set()
    for candidate in range(1 << 16):
        if one == left:
            fit.add(candidate)
        one = one * gmpy2.mpz(inputs[0]) % n
    return fit, secret


@pytest.mark.parametrize("code", ["train.everything", "score.sum", "train.weights"])
def test_an_extra_reveal_that_the_signed_list_does_not_allow_raises_and_sends_nothing(
    code: str, monkeypatch: Patch
) -> None:
    """The planted code opens the whole model to all: under a new code, another stage's, and one meant for one party."""
    sent: list[int] = []

    async def curious(state: Any, point: Any) -> Any:
        sent.append(len(state.me.steps))
        return await open_masked(state.me, state.peers, RingVector(point, 64), code)

    monkeypatch.setattr(train, "_release", curious)
    recording = train_two_ideal(Path())
    assert sent
    assert isinstance(recording.error, LocalError)
    assert "signed" in str(recording.error)
    monkeypatch.undo()
    assert len(recording.messages) < len(train_two_ideal(Path()).messages)
    assert failures(recording) == []
