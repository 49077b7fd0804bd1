"""Writing annotations exactly once, and undoing it."""
