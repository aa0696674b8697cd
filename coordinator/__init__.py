"""The conduct of a job: proposes, starts, watches, cancels. Never rows, labels, shares or keys of a party."""
