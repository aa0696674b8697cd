"""What a party remembers: `state.db`, the audit log, budgets, files of one-time values."""
