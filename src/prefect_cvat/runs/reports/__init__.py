"""The reports of runs and dry runs."""
