"""What parties hold before they meet private data: `kinds`, the sources that make it, `stock` that hands it out once."""
