"""Plain arithmetic of credit risk, no cryptography: binning, weight of evidence, scorecards, cut-offs, money."""
