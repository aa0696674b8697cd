import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from mpc.errors import LocalError
from mpc.statistics.logistic import fit_logistic, sigmoid


def made_up(rows, columns, seed, base=-1.0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((rows, columns))
    truth = rng.standard_normal(columns)
    outcome = rng.random(rows) < 1 / (1 + np.exp(-(features @ truth + base)))
    return np.hstack([np.ones((rows, 1)), features]), outcome


def by_sklearn(features, outcome, penalty, weights=None):
    total = len(outcome) if weights is None else weights.sum()
    model = LogisticRegression(C=1 / (total * penalty), tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    model.fit(features[:, 1:], outcome, sample_weight=weights)
    return np.r_[model.intercept_, model.coef_[0]]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), columns=st.integers(1, 8), power=st.integers(-4, 0))
def test_the_fit_equals_sklearn_at_c_equal_one_over_n_lambda(seed, columns, power):
    features, outcome = made_up(300, columns, seed)
    outcome[:2] = [True, False]
    penalty = 10.0**power
    ours = fit_logistic(features, outcome, penalty, intercept=0)
    assert ours.converged
    np.testing.assert_allclose(ours.weights, by_sklearn(features, outcome, penalty), atol=1e-6)


def test_sample_weights_equal_sklearn_and_repeated_rows():
    features, outcome = made_up(200, 3, 5)
    counts = np.random.default_rng(1).integers(0, 4, 200).astype(float)
    ours = fit_logistic(features, outcome, 1e-2, intercept=0, sample_weights=counts)
    repeated = np.repeat(np.arange(200), counts.astype(int))
    np.testing.assert_allclose(ours.weights, by_sklearn(features, outcome, 1e-2, counts), atol=1e-6)
    again = fit_logistic(features[repeated], outcome[repeated], 1e-2, intercept=0)
    np.testing.assert_allclose(ours.weights, again.weights, atol=1e-8)


def test_separable_labels_converge_with_a_penalty_and_say_so_without():
    features = np.c_[np.ones(40), np.linspace(-1, 1, 40)]
    outcome = features[:, 1] > 0
    held = fit_logistic(features, outcome, 1e-4, intercept=0)
    assert held.converged
    np.testing.assert_allclose(held.weights, by_sklearn(features, outcome, 1e-4), atol=1e-5)
    assert not fit_logistic(features, outcome, 0.0, intercept=0).converged


def test_columns_in_raw_units_and_copies_of_a_column_do_no_harm():
    features, outcome = made_up(400, 3, 9)
    raw = features * [1, 1e6, 1, 1e-4]
    plain = fit_logistic(features, outcome, 0.0, intercept=0)
    scaled = fit_logistic(raw, outcome, 0.0, intercept=0)
    assert scaled.converged
    np.testing.assert_allclose(scaled.weights * [1, 1e6, 1, 1e-4], plain.weights, rtol=1e-7)
    twice = fit_logistic(np.c_[features, features[:, 1]], outcome, 0.0, intercept=0)
    np.testing.assert_allclose(twice.weights[1] + twice.weights[4], plain.weights[1], rtol=1e-6)


def test_a_start_at_the_optimum_needs_no_step_and_the_intercept_is_not_shrunk():
    features, outcome = made_up(500, 2, 3, base=-4.0)
    first = fit_logistic(features, outcome, 100.0, intercept=0)
    assert fit_logistic(features, outcome, 100.0, 0, start=first.weights, tolerance=1e-8).iterations == 0
    # With everything but the intercept shrunk away, the intercept is the log-odds of the base rate.
    rate = outcome.mean()
    assert first.weights[0] == pytest.approx(np.log(rate / (1 - rate)), abs=1e-2)


def test_a_constant_offset_moves_the_intercept_alone():
    features, outcome = made_up(300, 2, 4)
    plain = fit_logistic(features, outcome, 1e-3, 0)
    moved = fit_logistic(features, outcome, 1e-3, 0, offset=np.full(300, 2.0))
    np.testing.assert_allclose(moved.weights + np.array([2.0, 0, 0]), plain.weights, atol=1e-7)


def test_the_sigmoid_keeps_its_tails():
    z = np.array([-800.0, -30.0, 0.0, 30.0, 800.0])
    tail = np.exp(-30)
    np.testing.assert_allclose(sigmoid(z), [0, tail / (1 + tail), 0.5, 1 / (1 + tail), 1], rtol=1e-14)


ROWS = np.c_[np.ones(4), np.arange(4.0)]
WRONG = {
    "all labels equal": (ROWS, [1, 1, 1, 1], 0.1, 0, {}),
    "a label that is neither 0 nor 1": (ROWS, [0, 1, 2, 0], 0.1, 0, {}),
    "no rows": (ROWS[:0], [], 0.1, 0, {}),
    "other lengths": (ROWS, [0, 1, 1], 0.1, 0, {}),
    "a missing value": (np.where(ROWS == 3, np.nan, ROWS), [0, 1, 1, 0], 0.1, 0, {}),
    "a negative penalty": (ROWS, [0, 1, 1, 0], -0.1, 0, {}),
    "no such intercept": (ROWS, [0, 1, 1, 0], 0.1, 7, {}),
    "sample weights that leave one class": (ROWS, [0, 1, 1, 0], 0.1, 0, {"sample_weights": [1, 0, 0, 1]}),
    "a start of another length": (ROWS, [0, 1, 1, 0], 0.1, 0, {"start": np.zeros(3)}),
}


@pytest.mark.parametrize("case", WRONG)
def test_inputs_that_cannot_be_fitted_are_refused(case):
    features, outcome, penalty, intercept, extra = WRONG[case]
    with pytest.raises(LocalError):
        fit_logistic(features, outcome, penalty, intercept, **extra)


def test_a_fit_shows_no_weight_and_is_never_pickled():
    features, outcome = made_up(50, 1, 2)
    fit = fit_logistic(features, outcome, 1e-2, 0)
    assert repr(fit) == "LogisticFit(...)"
    with pytest.raises(TypeError):
        pickle.dumps(fit)
