"""A table becomes numbers: `preparation` and what it is made of, on training rows."""
