"""HTTP to a server: addresses, requests, retries, limits, errors."""
