"""What asv and pytest-benchmark time."""
