"""The contract in Python: the one place where foreign bytes become values."""
