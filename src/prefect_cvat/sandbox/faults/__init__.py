"""Injected faults: rules, decisions, and the middleware that applies them."""
