"""Whether this bank agrees: policy, what the person who approves is shown, signatures, datasets on offer."""
