"""What the values of an instance may be, as far as a value alone tells it."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from nixhive_nb.deployment.names import hostname_problem, name_problem, port_problem
from nixhive_nb.deployment.ways import jump_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixhive_nb.deployment.node import Scalar

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SSH_OPTION = re.compile(r"(?!(?:host|match)$)[a-z0-9]+", re.IGNORECASE)
_PLAIN_HOSTNAME = re.compile(r"[A-Za-z0-9_.+~=][A-Za-z0-9_.+~=-]*", re.ASCII)
_USUAL_KEY = re.compile(r"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}(?: [^\x00-\x1f\x7f]*)?")
"""A key line of the usual type, whose length is known: it begins with its type in base64."""
_KEY_LINE = re.compile(r"([a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})(?: [^\x00-\x1f\x7f]*)?")


def is_plain_hostname(text: str) -> bool:
    """Return whether a value of `Hostname` is seen to be a good one at a glance: a name, or an address of IPv4."""
    return _PLAIN_HOSTNAME.fullmatch(text) is not None


def is_ssh_option(name: str) -> bool:
    """Return whether that is the name of an option that may stand in a `Host` block."""
    return _SSH_OPTION.fullmatch(name) is not None


def ssh_text(value: Scalar) -> str:
    """Return a value as ssh reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def breaks_line(text: str) -> bool:
    """Return whether a value of an ssh option holds what no line of a configuration can."""
    return CONTROL.search(text.replace("\t", " ")) is not None


def ssh_problem(keyword: str, value: str) -> str:
    """Return why an option that says which host is reached cannot have a value; ssh reads the others itself."""
    if keyword not in _WAYS:
        return ""
    if not value.strip():
        return "it is empty; leave the option out instead"
    return _WAYS[keyword](value)


_WAYS: dict[str, Callable[[str], str]] = {
    "hostname": hostname_problem,
    "port": port_problem,
    # It becomes a line of known_hosts, where a pattern would stand for other hosts, too.
    "hostkeyalias": name_problem,
    "proxyjump": jump_problem,
    "user": lambda _: "",
}


def is_key_line(line: str) -> bool:
    """Return whether a line is `TYPE BASE64 [COMMENT]`, where the base64 text starts with the same type."""
    if _USUAL_KEY.fullmatch(line):
        return True
    found = _KEY_LINE.fullmatch(line)
    if not found:
        return False
    try:
        blob = base64.b64decode(found[2], validate=True)
    except binascii.Error:
        return False
    name = found[1].encode()
    return blob.startswith(len(name).to_bytes(4, "big") + name) and len(blob) > 4 + len(name)
