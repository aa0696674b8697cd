"""The group in which identifiers are blinded, `ristretto255`, and the columns of identifiers that enter it."""
