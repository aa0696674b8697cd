"""The mathematics. No network, files, clock or logging; randomness is an argument."""
