"""Computing on additive shares: `opening` is the one place where a shared value is shown."""
