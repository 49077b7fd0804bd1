"""The kinds of runs, their pipeline, progress and report."""
