"""Sends the annotations of a run: grouping, requests, and requests of unknown outcome."""
