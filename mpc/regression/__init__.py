"""Secure logistic regression below its protocol: sizes and bits, the sigmoid, the preconditioner, `setup` before the
first step, and `precomputed`, which keeps that for another day."""
