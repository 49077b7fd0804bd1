"""Sending the annotations of a run: what is sent together, how, and what became of requests."""
