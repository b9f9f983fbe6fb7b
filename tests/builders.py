"""Derivations whose builders touch what is here, and a place where they may: they are other users than we."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path


@contextlib.contextmanager
def gated():
    """A folder that builders can enter, with a `gate` in it: who opens it waits for somebody on its other side."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        os.mkfifo(f"{folder}/gate")
        Path(folder, "gate").chmod(0o666)
        yield Path(folder)


def opening(place):
    """The words that open the gate to one who waits there."""
    return f"timeout 60 sh -c 'echo open >{place}/gate'"


def waiting(place):
    """The words that wait until the gate is opened, and print what was said there."""
    return f"timeout 60 cat {place}/gate"


def derivation(name, script):
    """A derivation that nobody has built."""
    return (
        f'(derivation {{ name = "{name}-{secrets.token_hex(6)}"; system = builtins.currentSystem; builder = "/bin/sh"; '
        f"""PATH = "/usr/bin:/bin"; args = [ "-c" ''{script}'' ]; }})"""
    )
