"""`lab.nix`: what a deployment has to know of the practice fleet, as one Nix attribute set."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nixhive_nb.lab.image import Keys
    from nixhive_nb.lab.model import HostStatus

_log = logging.getLogger(__name__)


def write(path: Path, *, token: str, nixpkgs: Path, keys: Keys, hosts: Iterable[HostStatus]) -> None:
    """Write the file, whole or not at all."""
    instances = "".join(_instance(host, keys) for host in sorted(hosts, key=lambda host: host.instance))
    text = f"""\
{_mark(token)}
{{
  nixpkgs = {_string(nixpkgs)};
  signingKeyFile = {_string(keys.signing)};
  publicKey = {_string(keys.public.read_text().strip())};
  # The stand-in's builders use this machine's own programs, and nothing of it is in a public cache.
  buildFlags = [ "--option" "sandbox" "false" "--option" "substituters" "" ];
  instances = {{
{instances}  }};
}}
"""
    fresh = path.with_name(f".{path.name}.{token}")
    fresh.write_text(text)
    fresh.replace(path)


def remove(path: Path, token: str) -> None:
    """Remove the file, unless another fleet has written it since, and what a killed `write` left."""
    path.with_name(f".{path.name}.{token}").unlink(missing_ok=True)
    try:
        ours = path.read_text().startswith(_mark(token))
    except OSError:
        _log.debug("%s cannot be read, and stays", path, exc_info=True)
        return
    if ours:
        path.unlink(missing_ok=True)


def _mark(token: str) -> str:
    return f"# Written by the practice fleet {token}, and removed when it is taken down."


def _instance(host: HostStatus, keys: Keys) -> str:
    return f"""\
    {host.instance} = {{
      ssh = {{
        Hostname = {_string(host.address)};
        Port = {host.port};
        User = {_string(host.user)};
        IdentityFile = {_string(keys.identity)};
        IdentitiesOnly = true;
      }};
      hostKeys = [ {_string(host.host_key)} ];
    }};
"""


def _string(value: str | os.PathLike[str]) -> str:
    text = os.fspath(value).replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{text}"'
