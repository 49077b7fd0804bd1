"""The digest of a function: its parameters, its weights, its code, and all code that this reaches."""
