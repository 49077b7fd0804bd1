"""Requests and responses of CVAT's REST API, and what all handlers need to read and write them."""
