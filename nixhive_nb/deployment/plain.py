"""Instances that hold nothing but texts, numbers and lists of them, as nearly all do: read with no words for mistakes.

A fleet has thousands of them, and few values: a port, a user, a relay. So each value is looked at once, and instances
share what is made of it. Where one has a mistake, `reading` tells it, of an answer that has the places.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nixhive_nb.deployment.carrying import carrier_of
from nixhive_nb.deployment.elevating import elevate_problem, text_problem
from nixhive_nb.deployment.inventory import Check, Instance
from nixhive_nb.deployment.names import address_problem, name_problem, store_problem
from nixhive_nb.deployment.values import (
    CONTROL,
    breaks_line,
    is_key_line,
    is_plain_hostname,
    is_ssh_option,
    ssh_problem,
    ssh_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixhive_nb.deployment.carrying import Wanted
    from nixhive_nb.deployment.inventory import System
    from nixhive_nb.deployment.node import Plain, Scalar
    from nixhive_nb.deployment.ways import SshOptions

_log = logging.getLogger(__name__)
_Option = tuple[str, tuple[str, ...]]


class _Mistaken(Exception):  # noqa: N818 - named for what is found
    """Something is wrong, or not clear."""


class PlainReader:
    """Reads the plain instances of one deployment."""

    def __init__(self, systems: Mapping[str, System]) -> None:
        """Begin with no value seen."""
        self._systems = systems
        self._options: dict[tuple[str, str], _Option] = {}
        self._keywords: dict[str, str] = {}
        self._addresses: set[str] = set()
        """The names of the option that says where an instance is: `Hostname`, `hostname` …"""
        self._stores: set[str] = {""}
        self._tags: dict[tuple[str, ...], tuple[str, ...]] = {(): ()}

    def instance(self, name: str, plain: Plain, checks: tuple[Check, ...] | None = None) -> Instance | None:
        """Return an instance, with the checks of its system unless it has some; None where it has a mistake."""
        system = self._systems.get(plain.system)
        if system is None or name_problem(name):
            return None
        try:
            ssh = self._ssh(plain.ssh)
            if self._addresses.isdisjoint(plain.ssh) and address_problem(name):
                return None
            return Instance(
                name=name,
                system=system.name,
                store=self._store(plain.store),
                tags=self._tags.get(plain.tags) or self._new_tags(plain.tags),
                ssh=ssh,
                host_keys=_key_lines(plain.host_keys),
                host_cas=_key_lines(plain.host_cas),
                checks=system.checks if checks is None else checks,
                elevate=system.elevate if plain.elevate is None else _elevate(plain.elevate),
                carrier=_carrier(plain.carrier),
            )
        except _Mistaken:
            _log.debug("instance %s has a mistake", name, exc_info=True)
            return None

    def _ssh(self, options: Mapping[str, Scalar | tuple[Scalar, ...]]) -> SshOptions:
        found = []
        for name, value in sorted(options.items()):
            if isinstance(value, str):
                found.append(self._options.get((name, value)) or self._option(name, value))
            elif isinstance(value, tuple):
                keyword = self._keyword(name)
                texts = tuple([_checked(keyword, ssh_text(one)) for one in value])
                found += [(name, texts)] if texts else []
            else:
                text = ssh_text(value)
                found.append(self._options.get((name, text)) or self._option(name, text))
        return tuple(found)

    def _option(self, name: str, text: str) -> _Option:
        """Return an option with one value that was not seen before."""
        is_plain = name in self._addresses and is_plain_hostname(text)  # each instance has its own
        found = self._options[name, text] = (name, (text if is_plain else _checked(self._keyword(name), text),))
        return found

    def _keyword(self, name: str) -> str:
        """Return the name of an option in lower case."""
        known = self._keywords.get(name)
        if known is not None:
            return known
        if not is_ssh_option(name):
            raise _Mistaken
        found = self._keywords[name] = name.lower()
        if found == "hostname":
            self._addresses.add(name)
        return found

    def _store(self, url: str) -> str:
        if url not in self._stores:
            if store_problem(url):
                raise _Mistaken
            self._stores.add(url)
        return url

    def _new_tags(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        if any(map(CONTROL.search, tags)):
            raise _Mistaken
        return self._tags.setdefault(tags, tags)


def _checked(keyword: str, text: str) -> str:
    if breaks_line(text) or ssh_problem(keyword, text):
        raise _Mistaken
    return text


def _elevate(how: str | tuple[str, ...]) -> tuple[str, ...]:
    words = (how,) if isinstance(how, str) else how
    if (isinstance(how, str) and text_problem(how)) or elevate_problem(words):
        raise _Mistaken
    return words


def _carrier(text: str) -> Wanted:
    said = carrier_of(text)
    if said is None:
        raise _Mistaken
    return said


def _key_lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    keys = tuple([line.strip() for line in lines])
    if not all(map(is_key_line, keys)):
        raise _Mistaken
    return keys
