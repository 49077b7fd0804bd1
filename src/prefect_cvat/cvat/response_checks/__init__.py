"""Checks of the server's responses."""
