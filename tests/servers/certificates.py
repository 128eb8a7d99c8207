"""A certificate of our own making, that nobody vouches for."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def made(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 and endpoint.invalid, with its key behind it."""
    both = folder / "made.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=loopback",
               "-addext", "subjectAltName=IP:127.0.0.1,DNS:endpoint.invalid",
               "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    both.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return both


def serving(certificate: Path) -> ssl.SSLContext:
    """Give what a server needs to show it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
