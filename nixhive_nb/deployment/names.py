"""What may stand where ssh, Nix and shells read the name of a host: why a text may not, in words for a person.

A name that one of them takes for something else leads to another host than the one that is meant: `root@web` is the
host `web` to ssh, `localhost` is this machine to Nix, and `été` is no host at all to either.
"""

from __future__ import annotations

import logging
import re
import socket
from urllib.parse import urlsplit

from nixhive_nb.util.suggest import near
from nixhive_nb.util.swallowed import swallowed

_log = logging.getLogger(__name__)

LONGEST = 200
"""How many characters a name may have: with what we add to it, it is the name of a file."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~=-]*", re.ASCII)
_LETTERS = "ASCII letters, digits and . _ - + ~ =, beginning with a letter, a digit or _"
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~=-]*\$?", re.ASCII)
_IPV6 = re.compile(r"\[[0-9a-fA-F:.]+(?:%[A-Za-z0-9._-]+)?\]", re.ASCII)
_LAST_PORT = 65535
_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_HOSTNAME = re.compile(r"[A-Za-z0-9_.:+~=%-]+", re.ASCII)
_SIGNS = re.compile(r"(?:[^%]|%[%h])*")
"""What ssh takes of a `Hostname`: `%h` is the name of the host, `%%` a percent sign; see ssh_config(5)."""

_NUMBERS = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}", re.ASCII | re.IGNORECASE)
_QUAD = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})", re.ASCII)

_THIS_MACHINE = re.compile(
    r"(?:.*\.)?localhost\.?|localhost\.localdomain|localhost[46](?:\.localdomain[46])?|ip6-(?:localhost|loopback)",
    re.IGNORECASE,
)

_TAKEN = {
    "localhost": "Nix takes that name for this machine, without ssh; name it otherwise, and set its `ssh.Hostname`",
    "none": "ssh takes that word for no host at all, in ProxyJump for one",
}
SSH_SCHEMES = ("ssh", "ssh-ng")
_SCHEMES = (*SSH_SCHEMES, "file", "s3", "http", "https", "unix", "local", "local-overlay", "mounted-ssh-ng")
_WORDS = ("auto", "daemon", "local")
"""Stores that are a word and no URL."""


def name_problem(name: str) -> str:
    """Return why an instance cannot be called so; empty for a good name."""
    if not _NAME.fullmatch(name):
        hints = {
            "@": "; a user goes into `ssh.User`",
            ":": "; a port goes into `ssh.Port`, an address into `ssh.Hostname`",
        }
        hint = next((hint for letter, hint in hints.items() if letter in name), "")
        return f"it is a host name for ssh and Nix: {_LETTERS}{hint}"
    if len(name) > LONGEST:
        return f"it has {len(name)} characters, and may have {LONGEST}"
    return _TAKEN.get(name.lower(), "")


def address_problem(name: str) -> str:
    """Return why an instance without `ssh.Hostname` cannot be called so; empty for a good name.

    ssh reads numbers as an address, in all the ways of inet_aton(3): `0` and `127.1` are this machine. So is all below
    `localhost` to a resolver (RFC 6761).
    """
    if _THIS_MACHINE.fullmatch(name):
        return "resolvers take that name for this machine; set its `ssh.Hostname`"
    if not _NUMBERS.fullmatch(name) or _QUAD.fullmatch(name):
        return ""
    with swallowed(_log, f"reading {name} as an address", OSError):  # no such address
        return f"ssh reads that as the address {socket.inet_ntoa(socket.inet_aton(name))}; set its `ssh.Hostname`"
    return ""


def host_problem(host: str) -> str:
    """Return why the host of a store or a jump cannot be called so; empty for a good one. IPv6 stands in brackets."""
    if not host:
        return "it names no host"
    if _IPV6.fullmatch(host):
        return ""
    if not _NAME.fullmatch(host) or len(host) > LONGEST:
        return f"the host {_shown(host)} is not of {_LETTERS}"
    return ""


def port_problem(port: str) -> str:
    """Return why a text is no port; empty for a good one."""
    good = re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) and 0 < int(port) <= _LAST_PORT
    return "" if good else f"the port {_shown(port)} is not a number from 1 to {_LAST_PORT}"


def hostname_problem(value: str) -> str:
    """Return why `ssh.Hostname` cannot have a value; empty for a good one. ssh's %-words may stand in it."""
    if value.startswith("["):
        return "write the address without brackets"
    if "@" in value:
        return "the user of a host goes into its `ssh.User`"
    if not value.isascii():
        return "ssh knows no such letters; write the name as the name server has it (xn--…)"
    if value.startswith("-") or not _HOSTNAME.fullmatch(value):
        return "write a name or an address"
    if value.count(":") == 1:
        return "a port goes into `ssh.Port`"
    wrong = "ssh reads % as the beginning of a word of its own: write %% for one, as in fe80::1%%eth0"
    return "" if _SIGNS.fullmatch(value) else wrong


def store_problem(url: str) -> str:
    """Return why a store cannot have a URL; empty for one that can be, and for none. No password is in the words."""
    where = url.partition("?")[0]
    if _NOT_PRINTABLE.search(url) or re.search(r"\s", where):
        return "it holds a blank, a line break or another control character"
    if not url or where in _WORDS or where.startswith("/"):
        return ""
    scheme, separator, rest = where.partition("://")
    if not separator:
        return f"it is not a URL; for a host write ssh://{where}" if _NAME.fullmatch(where) else "it is not a URL"
    if scheme in (*SSH_SCHEMES, "mounted-ssh-ng"):
        return _ssh_problem(rest)
    return _other_problem(scheme, rest) if scheme in _SCHEMES else _scheme_problem(scheme)


def _scheme_problem(scheme: str) -> str:
    alike = near(scheme.lower(), _SCHEMES)
    hint = f"did you mean {alike[0]}://?" if alike else f"stores are reached by {', '.join(_SCHEMES)}"
    return f"Nix knows no {_shown(scheme)}://: {hint}"


def _ssh_problem(rest: str) -> str:
    """Return what is wrong with `[USER@]HOST[:PORT]`, which is all that ssh can be given."""
    user, separator, place = rest.rpartition("@")
    if ":" in user:
        return "it holds a password, which ssh does not take; use a key"
    if separator and not _USER.fullmatch(user):
        return f"the user {_shown(user)} is not one that a login can have"
    if "/" in place or "#" in place:
        return "nothing but options (?…) may stand behind the host"
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([^:]*))?", place)
    if found is None:
        return f"{_shown(place)} is neither a host nor HOST:PORT; an IPv6 address stands in brackets"
    host, port = found[1], found[2]
    problem = host_problem(host) or ("" if port is None else port_problem(port))
    if not problem and host.lower() == "localhost":
        return "Nix takes localhost for this machine, without ssh; write 127.0.0.1, or the name of a host"
    return problem


def _other_problem(scheme: str, rest: str) -> str:
    if scheme in ("file", "unix") and not rest.startswith("/"):
        return f"it has no absolute path; write {scheme}:///…"
    if scheme not in ("http", "https", "s3"):
        return ""
    what = "bucket" if scheme == "s3" else "host"
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "its port or its address makes no sense"
    return "" if named else f"it names no {what}"


def _shown(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else f"{text[:most]}…")
