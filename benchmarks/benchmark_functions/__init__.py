"""Functions that the benchmarks run."""
