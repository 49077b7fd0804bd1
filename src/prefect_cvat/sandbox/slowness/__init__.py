"""Slows the sandbox down: time per chunk, request and shape, and the link to the client."""
