"""Where the scheduler is, and by which certificates it is spoken to."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nixhive_nb.errors import MissingProgram, OptionError

INSTALL = "pip install 'nixhive_nb[dask]'"
FILES = {"ca.pem": "the certificate of the authority", "cert.pem": "our certificate", "key.pem": "its key"}
"""What a folder of `--tls` holds."""
HOWTO = "docs/howto/workers.md makes them"


def distributed() -> Any:  # noqa: ANN401 - it has no types
    """Return the package `distributed`, imported now. Raises `MissingProgram` where it is not installed."""
    try:
        import distributed as found  # noqa: PLC0415 - an extra, which little needs
    except ImportError as error:
        raise MissingProgram(f"Workers need dask.distributed, which is not installed: {INSTALL}") from error
    # What it says of lost workers is told by us.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    return found


def checked_address(address: str, word: str) -> str:
    """Return the address of a scheduler. Raises `OptionError` for one that is none, or that anybody could use."""
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not port or parts.path:
        raise OptionError(f"{word} {address}: write tls://HOST:PORT, or on this machine tcp://127.0.0.1:PORT.")
    if parts.scheme == "tcp" and not _is_loopback(parts.hostname):
        raise OptionError(
            f"{word} {address}: whoever reaches a scheduler without TLS runs programs on its workers, so tcp:// is for "
            f"this machine alone. Use tls://{parts.hostname}:{port} with certificates (--tls FOLDER; {HOWTO})."
        )
    return address


def security_of(address: str, tls: str | None) -> Any:  # noqa: ANN401 - distributed's
    """Return distributed's `Security` for an address; without a folder, by Dask's own configuration.

    Raises `OptionError` where a certificate is missing.
    """
    kind = distributed().Security
    if not address.startswith("tls:"):
        return kind(require_encryption=False)
    if not tls:
        found = kind(require_encryption=True)
        if not (found.tls_ca_file and found.tls_client_cert):
            raise OptionError(
                f"{address} needs certificates: --tls FOLDER, with {', '.join(FILES)} ({HOWTO}), or those of Dask's "
                "own configuration (distributed.comm.tls)."
            )
        return found
    folder = Path(tls).expanduser()
    for name, what in FILES.items():
        if not (folder / name).is_file():
            raise OptionError(f"--tls {tls}: there is no {name} in it, which is {what} ({HOWTO}).")
    ca, cert, key = (str(folder / name) for name in FILES)
    roles = {
        f"tls_{role}_{part}": path for role in ("client", "worker") for part, path in (("cert", cert), ("key", key))
    }
    return kind(tls_ca_file=ca, require_encryption=True, **roles)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
