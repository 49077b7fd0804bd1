"""Hashes of passwords and access tokens: the database holds neither in clear text."""

import hashlib
import hmac
import secrets

# Few rounds: the sandbox holds no real secrets, and Basic authentication hashes on every request.
_ROUNDS = 1_000


def hash_password(password: str) -> str:
    """A salted hash of a password, for `check_password`."""
    salt = secrets.token_hex(8)
    return f"{salt}${_pbkdf2(password, salt)}"


def check_password(password: str, hashed: str) -> bool:
    """Whether a password matches a hash."""
    salt, _, digest = hashed.partition("$")
    return hmac.compare_digest(_pbkdf2(password, salt), digest)


def digest_of(token: str) -> str:
    """The digest of a personal access token. The token itself is not stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def _pbkdf2(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), _ROUNDS).hex()
