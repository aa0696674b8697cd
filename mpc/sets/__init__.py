"""Sets of identifiers: pseudo-random functions, key-value stores and counts that show no member."""
