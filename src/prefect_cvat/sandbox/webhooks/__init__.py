"""Webhooks of CVAT's API: creating, listing, changing and testing them."""
