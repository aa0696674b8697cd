"""Identifiers: spelled alike (`normalisation`), read and accounted for row by row (`accounting`), compared in shape;
whose the rows are where an id has several (`customers`)."""
