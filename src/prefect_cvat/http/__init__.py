"""HTTP to a server: address, transport, retries, bounds, errors."""
