"""The coordinator operator's command line."""
