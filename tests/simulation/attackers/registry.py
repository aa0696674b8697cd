"""Every output of a job, and its best attacker; or, where the output is a plain fact, what there is to know of it.

An output is a revealed line of the ledger or a kind of release. A new one fails a test until it stands here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attacked:
    """`attacker`: its module beside this one. `defended` and `control`: tests, as file::function; the control has the
    defence out and recovers nine tenths of the target at least, at the same size."""

    attacker: str
    defended: str
    control: str


@dataclass(frozen=True)
class Fact:
    """Nothing stands behind it that could be computed from it; or so few bits that the table of outputs counts them."""

    why: str


SCORES = Attacked(
    "scores", "test_scores_to_bins.py::test_a_score_on_the_grid_tells_hardly_more_of_bins_than_a_coarse_one",
    "test_scores_to_bins.py::test_without_the_grid_the_same_attacker_reads_every_bin")
WEIGHTS = Attacked("weights", "test_attack_weights.py::test_with_the_terms_residuals_stay_as_unknown_as_they_were",
                   "test_attack_weights.py::test_without_terms_every_outcome_and_probability_is_read")
JOBS = ("test_attack_weights.py::"
        "test_a_term_that_stays_while_the_training_set_changes_would_show_whom_the_change_is_about")
SEVERAL_JOBS = Attacked("several_jobs", JOBS, JOBS)
COUNTS = Attacked(
    "counts", "test_attack_counts.py::test_what_the_budget_of_equations_leaves_to_counts_is_what_the_page_on_bins_says",
    "test_attack_counts.py::test_without_a_budget_counts_of_bins_are_the_outcomes")
ROUNDED = "test_attack_counts.py::test_rounded_correlations_hide_the_values_of_single_customers"
CORRELATIONS = Attacked("correlations", ROUNDED, ROUNDED)
FIGURES = Attacked("figures", "test_attack_figures.py::test_figures_as_they_are_released_tell_nobodys_outcome",
                   "test_attack_figures.py::test_exact_figures_of_a_small_hold_out_are_its_outcomes")

LINES: dict[str, tuple[Attacked | Fact, ...]] = {
    "align.overlaps": (Fact("counts of the Venn diagram, bounded by the budget of alignments"),),
    "align.members": (Fact("who is in common is what the job is for"),),
    "align.members.label_holder": (Fact("who is in common is what the job is for"),),
    "align.size": (Fact("one number a job, bounded by the budget of alignments"),),
    "align.copies": (Fact("numbers of rows, told as they are"),),
    "split.period": (Fact("one bit of each customer, told as it is, bounded by the budget of splits"),),
    "bin.counts": (SCORES,),                     # the tables that the attacker on scores is given
    "bin.merged": (COUNTS,),
    "correlate.matrix": (CORRELATIONS,),
    "correlate.matrix_to_holder": (CORRELATIONS,),
    "correlate.pairs": (CORRELATIONS,),
    "correlate.pairs_to_holder": (CORRELATIONS,),
    "correlate.inflation": (CORRELATIONS,),
    "correlate.inflation_to_holder": (CORRELATIONS,),
    "train.anderson.level": (Fact("two bits an iteration, on all rows together"),),
    "train.converged": (Fact("one bit a job, on all rows together"),),
    "train.weights": (WEIGHTS, SEVERAL_JOBS),
    "score.sum": (SCORES,),
    "finish.range": (Fact("one bit a job, on all hold-out rows together"),),
}
RELEASES: dict[str, tuple[Attacked | Fact, ...]] = {
    "metrics": (FIGURES,),
    "curves": (FIGURES,),
    "correlations": (CORRELATIONS,),
    "row_counts": (Fact("sizes that all parties know"),),
    "timings": (Fact("seconds of stages; counts of messages and bytes are functions of public sizes"),),
}
