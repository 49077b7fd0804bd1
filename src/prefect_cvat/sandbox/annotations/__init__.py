"""Annotations of jobs and tasks: checking, storing, and merging them across jobs."""
