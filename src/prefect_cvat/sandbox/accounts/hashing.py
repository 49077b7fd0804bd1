"""Hashes of passwords and access tokens: the database holds neither in clear text."""

import hashlib
import hmac
import secrets

# Few rounds on purpose: the sandbox keeps no real secrets, and Basic authentication hashes on every request.
_ROUNDS = 1_000


def hash_password(password: str) -> str:
    """A salted hash of a password, in a form that `check_password` reads."""
    salt = secrets.token_hex(8)
    return f"{salt}${_stretched(password, salt)}"


def check_password(password: str, hashed: str) -> bool:
    """Whether a password is the one that was hashed."""
    salt, _, digest = hashed.partition("$")
    return hmac.compare_digest(_stretched(password, salt), digest)


def digest_of(token: str) -> str:
    """What is kept of a personal access token, whose value is shown once."""
    return hashlib.sha256(token.encode()).hexdigest()


def _stretched(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), _ROUNDS).hex()
