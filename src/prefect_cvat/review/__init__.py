"""Ranks frames for review by a human: uncertain shapes and tracks, expected corrections."""
