"""A file of certificates for programs that read all that they are given at each start of a client."""

import tempfile
from pathlib import Path

import certifi

END = "-----END CERTIFICATE-----\n"


def one_certificate() -> str:
    """Write the first of the certificates of certifi to a file, and return its path."""
    path = Path(tempfile.mkdtemp(prefix="prefect-cvat-certificate-"), "one.pem")
    path.write_text(Path(certifi.where()).read_text().partition(END)[0] + END)
    return str(path)
