"""A party's own part of finished models: what it keeps, scores, exports and measures."""
