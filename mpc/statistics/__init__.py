"""Plain statistics, no cryptography: the exact fit, figures of merit and how sure they are."""
