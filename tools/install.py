"""Install packages for this Python: what the Makefile calls in place of `pip install`, with the same words.

    .venv/bin/python tools/install.py --editable '.[dev]'

uv does it, which takes a small part of pip's time, and is told what pip is configured with. Where uv cannot be had, or
does not get through, or pip is configured with something that uv has no word for, pip does it.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PIP = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "--no-input")
UV = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable)
_FOR_UV = {
    "cert": "SSL_CERT_FILE",
    "constraint": "UV_CONSTRAINT",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
    "no-index": "UV_NO_INDEX",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
}
_WITHOUT_EFFECT = (
    "break-system-packages",
    "cache-dir",
    "default-timeout",
    "disable-pip-version-check",
    "no-cache-dir",
    "no-color",
    "no-input",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "retries",
    "root-user-action",
    "timeout",
    "verbose",
)
"""What changes nothing of which packages are installed and where they come from."""


def main() -> None:
    """Install what the arguments say, and end with the status of who did it."""
    words = sys.argv[1:]
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False).stdout
    settings = uv_settings(listed)
    if settings is not None and _with_uv(words, {**os.environ, **settings}):
        return
    sys.exit(subprocess.run([*PIP, "install", *words], check=False).returncode)


def uv_settings(listed: str) -> dict[str, str] | None:
    """Return the variables that tell uv what `pip config list` printed; None where uv has no word for something.

    https://pip.pypa.io/en/stable/topics/configuration/, https://docs.astral.sh/uv/reference/environment/
    """
    found: dict[str, list[str]] = {}
    # The later hides the earlier. Other sections are of other commands.
    for section in ("global", "install", ":env:"):
        for line in listed.splitlines():
            name, _, quoted = line.partition("=")
            of, _, option = name.rpartition(".")
            if of != section or option in _WITHOUT_EFFECT:
                continue
            if option not in _FOR_UV:
                return None
            found[_FOR_UV[option]] = str(ast.literal_eval(quoted)).split()
    # As pip has it: the newest of all indexes, and files that are nobody else's.
    settings = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_LINK_MODE": "copy"}
    for variable, values in found.items():
        several = variable in ("UV_CONSTRAINT", "UV_FIND_LINKS", "UV_INDEX", "UV_INSECURE_HOST")
        between = "," if variable == "UV_FIND_LINKS" else " "
        settings[variable] = between.join(dict.fromkeys(values)) if several else values[-1]
    return settings


def _with_uv(words: list[str], env: Mapping[str, str]) -> bool:
    """Install with uv; return whether it did. What it says of a failure is left to pip, which is asked next."""
    if subprocess.run([*PIP, "install", "uv"], capture_output=True, check=False).returncode:
        return False
    return subprocess.run([*UV, *words], env=env, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
