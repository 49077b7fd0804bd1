"""Compares the evaluations of two functions, or of two runs, on the same ground truth."""
