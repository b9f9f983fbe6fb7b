"""The programs that the tests run on, as the system has them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_ASKED = {
    "Nix": ("/usr/bin/nix", "--version"),
    "OpenSSH": ("/usr/bin/ssh", "-V"),
    "systemd": ("/usr/bin/systemctl", "--version"),
    "Python": ("/usr/bin/python3", "--version"),
}


def versions() -> dict[str, str]:
    """Return the version of each program that the system has."""
    return {name: found for name, argv in _ASKED.items() if Path(argv[0]).exists() and (found := _version(argv))}


def codename() -> str:
    """Return the system's name of its release (`bookworm`), empty where it has none."""
    found = re.search(r'^VERSION_CODENAME="?([\w-]+)', Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else ""


def _version(argv: tuple[str, ...]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    found = re.search(r"\d+(\.\d+)*(p\d+)?", done.stdout + done.stderr)
    return found[0] if found else ""
