"""The certificates to trust: one store for requests and for `tovec config check`.

SSL_CERT_FILE and SSL_CERT_DIR come first, then the system's store, as for curl and git. certifi's,
which httpx brings, stands in only where the system has none.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from tovec.errors import PersonError

HINT = "SSL_CERT_FILE=FILE.pem or SSL_CERT_DIR=DIR names the authority of your own network"


def trusted() -> ssl.SSLContext:
    """Return a context that checks servers' certificates.

    Raises PersonError for certificates of the environment that cannot be read.
    """
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not directory:
        file, directory = _of_the_system()
    elif directory and not any(Path(one).is_dir() for one in directory.split(os.pathsep)):
        raise PersonError("SSL_CERT_DIR does not name a directory", where=directory, hint=HINT)
    try:
        return ssl.create_default_context(cafile=file or None, capath=directory or None)
    except OSError as error:  # ssl.SSLError is one too
        raise PersonError(
            f"the certificates cannot be read: {error.strerror or error}",
            where=file or directory or "",
            hint="SSL_CERT_FILE names a file of certificates in PEM form",
        ) from None


def _of_the_system() -> tuple[str | None, str | None]:
    """Return the system's file and directory of certificates; certifi's file where it has none."""
    paths = ssl.get_default_verify_paths()
    file = paths.openssl_cafile if Path(paths.openssl_cafile).is_file() else None
    directory = paths.openssl_capath if Path(paths.openssl_capath).is_dir() else None
    if file or (directory and any(Path(directory).iterdir())):
        return file, directory
    import certifi

    return certifi.where(), None
