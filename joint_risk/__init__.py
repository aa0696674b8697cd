"""A whole consortium on one machine, whose owner may look into every directory: the demo, and joint against pooled."""
