"""The terms of a plan: what a deployment says of where and how its steps are carried out, beside the steps.

A plan is kept in journals and files, so a term is kept by its hash: an ssh option or a check may hold a secret that no
rule would find. Those that say where a host is are kept as they are, for a person to compare.
"""

from __future__ import annotations

import re
from functools import lru_cache
from sys import intern
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nixhive_nb.deployment.inventory import Instance, Inventory

_SHOWN = ("hostname", "port", "user", "proxyjump")
"""The ssh options that are kept as they are."""
_NAMES = {"host_keys": "hostKeys", "host_cas": "hostCAs"}
_LATER = ("elevate", "host_cas")
_HASH = 24
"""How many hexadecimal digits a term is kept by: 96 bits."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What decides on which machine a step is done, over which ssh, and what is asked of it there."""

    hosts: dict[str, dict[str, str]] = {}
    """The instances that take part, by name: their ssh options, host keys, checks and so on, by name."""
    build_flags: str = ""
    signing_key: str = ""


def terms_of(inventory: Inventory, names: Iterable[str]) -> Terms:
    """Return the terms of a plan about these instances.

    Instances that they are reached through, that they read from and that build for them take part as well.
    """
    from nixhive_nb.plan.routes import relies_on  # noqa: PLC0415 - names, and ways of ssh, which no help needs

    known = inventory.instances
    found: dict[str, Instance] = {}
    rest = [*names, *_builders(inventory.build_flags)]
    while rest:
        name = rest.pop()
        if name in known and name not in found:
            found[name] = known[name]
            rest += relies_on(known[name])
    hashes = _Hashes()
    return Terms(
        hosts={name: dict(sorted(_host_terms(found[name], hashes))) for name in sorted(found)},
        build_flags=hashes.of(inventory.build_flags),
        signing_key=inventory.signing_key or "",
    )


def changed_terms(before: Terms, now: Terms) -> Iterator[str]:
    """Yield a line for each host, and for each term of all, that is not as it was."""
    for name in sorted(before.hosts.keys() | now.hosts.keys()):
        old, new = before.hosts.get(name), now.hosts.get(name)
        if new is None:
            yield f"{name}: it takes no part any more, and did in the plan"
        elif old is None:
            yield f"{name}: it takes part now, and is not in the plan"
        elif old != new:
            yield f"{name}: {'; '.join(_changes(old, new))}"
    if before.build_flags != now.build_flags:
        yield "nix.build.flags of the deployment changed since the plan"
    if before.signing_key != now.signing_key:
        yield f"signing.keyFile is {now.signing_key or 'not set'} now, and was {before.signing_key or 'not set'}"


class _Hashes(dict[bytes, str]):
    """The hash of each value, of equal ones the same text: thousands of hosts share most of what is said of them."""

    def of(self, value: object) -> str:
        return self[msgspec.json.encode(value)]

    def __missing__(self, encoded: bytes) -> str:
        import hashlib  # noqa: PLC0415 - OpenSSL, which no help needs

        found = self[encoded] = hashlib.sha256(encoded).hexdigest()[:_HASH]
        return found


def _host_terms(instance: Instance, hashes: _Hashes) -> Iterator[tuple[str, str]]:
    """Yield what the deployment says of an instance by name. Fields that come later are in it.

    Tags decide nothing, and neither does who carries commands.
    """
    for name, values in instance.ssh:
        yield intern(f"ssh.{name}"), " ".join(values) if name.lower() in _SHOWN else hashes.of(values)
    for check in instance.checks:
        yield intern(f"checks.{check.name}"), hashes.of(check)
    for name in _whole_fields(type(instance)):
        if name in _LATER and not getattr(instance, name):
            continue  # as in plans of before
        yield _NAMES.get(name, name), hashes.of(getattr(instance, name))


@lru_cache
def _whole_fields(kind: type[Instance]) -> tuple[str, ...]:
    """Return the fields that are a term each."""
    return tuple(name for name in kind.__struct_fields__ if name not in ("name", "tags", "ssh", "checks", "carrier"))


def _changes(before: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if name.partition(".")[2].lower() in _SHOWN and name.startswith("ssh."):
            yield f"{name} is {new or 'not set'} now, and was {old or 'not set'} in the plan"
        else:
            yield f"{name} {'is gone' if new is None else 'is new' if old is None else 'changed'} since the plan"


def _builders(flags: Iterable[str]) -> Iterator[str]:
    """Yield the hosts that builds may go to, as `--builders` names them."""
    from nixhive_nb.deployment.stores import store_host  # noqa: PLC0415 - see above

    for flag in flags:
        yield from filter(None, map(store_host, re.split(r"[\s;]+", flag)))
