"""The options of runs."""
