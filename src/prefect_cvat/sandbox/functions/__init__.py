"""Calls functions for annotators as CVAT does: single frames at once, tasks in the background."""
