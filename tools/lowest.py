"""Run Python 3.11 where each dependency is at the floor that pyproject.toml declares: what `make test-lowest` calls.

    tools/lowest.py -m pytest tests/test_frames.py

In that environment `dependencies` and the extra `lab` are at their floors, what runs the tests is the newest, and this
checkout is installed. It is made once, below ${XDG_CACHE_HOME:-/var/cache}/nixhive_nb, and named for its requirements
and the version of Python: a change makes another one, and the old one is removed. One checkout at a time uses it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
VERSION = "3.11"
"""The oldest Python that is promised. Floors of compiled packages have wheels for few others."""
_NAME = "lowest"
_READY = ".ready"
"""The file that an environment gets when it is whole."""
_PROBE = f"import sys, venv; print(sys.version); sys.exit('{VERSION}' != '%d.%d' % sys.version_info[:2])"


def main() -> None:
    """Make the environment where it is missing, and become its Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = find_python()
    if found is None:
        sys.exit(f"The floors are tried on Python {VERSION}, and there is none with its venv module on PATH.")
    cache = cache_folder()
    lock = hold(cache / f"{_NAME}.lock")
    place = prepared(cache, requirements(project), *found)
    python = str(place / "bin" / "python")
    # Each time, since another checkout may have used it last.
    _pip(python, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    os.set_inheritable(lock, True)  # noqa: FBT003 - it takes no keyword
    os.execv(python, [python, *sys.argv[1:]])  # with the lock, until the tests have ended


def requirements(project: dict[str, Any]) -> list[str]:
    """Return what to install for a `[project]` table: all that it promises at its floor, and what runs the tests."""
    extras = project["optional-dependencies"]
    exact = [_at_floor(one) for one in (*project["dependencies"], *extras["lab"])]
    tools = [one for one in (*extras["docs"], *extras["test"]) if not one.startswith("nixhive_nb")]
    return [*exact, *tools, "editables"]  # the last is what hatchling needs to install a checkout


def _at_floor(requirement: str) -> str:
    found = re.fullmatch(r"([\w-]+)>=([\w.]+)(?:,<[\w.]+)?", requirement)
    if found is None:
        raise ValueError(f"{requirement}: not NAME>=FLOOR or NAME>=FLOOR,<CEILING")
    return f"{found[1]}=={found[2]}"


def find_python() -> tuple[str, str] | None:
    """Return the path and the version of a Python 3.11 that can make environments, None where there is none."""
    name = f"python{VERSION}"
    for path in (f"{sys.base_prefix}/bin/{name}", shutil.which(name), f"/usr/bin/{name}"):
        if path and Path(path).is_file():
            # A shim of pyenv is there also for versions that are not.
            said = subprocess.run([path, "-c", _PROBE], capture_output=True, text=True, check=False)
            if said.returncode == 0:
                return path, said.stdout
    return None


def cache_folder() -> Path:
    """Return the folder of all second environments. It is there."""
    given = os.environ.get("XDG_CACHE_HOME")
    place = Path(given or "/var/cache") / "nixhive_nb"
    if not given and not os.access(place if place.exists() else place.parent, os.W_OK):
        place = Path.home() / ".cache" / "nixhive_nb"
    place.mkdir(parents=True, exist_ok=True)
    return place


def hold(path: Path) -> int:
    """Take a lock for as long as this process lives, also as another program."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another checkout runs its tests at the lowest versions; waiting for it.", flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def prepared(cache: Path, wanted: Sequence[str], python: str, version: str) -> Path:
    """Return the folder of the environment with what is wanted, made where it is missing or was left half-made.

    Whoever calls this holds the lock, so the others in the folder are used by nobody, and are removed.
    """
    key = hashlib.sha256("\n".join([version, *wanted]).encode()).hexdigest()[:12]
    place = cache / f"{_NAME}-{key}"
    if not (place / _READY).is_file():
        print(f"Making {place}: once for these requirements", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([python, "-m", "venv", "--without-pip", place], check=True)
        if wanted:
            _pip(str(place / "bin" / "python"), *wanted)
        (place / _READY).touch()
    for other in cache.glob(f"{_NAME}-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)
    return place


def _pip(python: str, *words: str) -> None:
    """Install something for a Python with our own pip, which finds its index, proxy and certificates as always."""
    argv = [sys.executable, "-m", "pip", "--python", python, "-qq", "--disable-pip-version-check", "--no-input"]
    if subprocess.run([*argv, "install", *words], check=False).returncode:
        sys.exit("pip could not install it: its words are above.")


if __name__ == "__main__":
    main()
