"""What parties hold before they meet private data: `kinds`, the sources that make it, `stock` to give it out once."""
