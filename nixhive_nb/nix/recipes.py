"""What builds a system, as the files of derivations in this machine's store tell it: what it asks of a machine."""

from __future__ import annotations

import logging
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.plan.places import BUILTIN, BuildNeed
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger(__name__)
# Source: the manual of Nix, "Derivation": in an ATerm outputs, inputs and sources stand before the platform.
_PLATFORM = re.compile(r'\],"([^"\\]{1,100})","')
_FEATURES = re.compile(r'\("requiredSystemFeatures","([^"\\]{0,1000})"\)')
_STRUCTURED = re.compile(r'\\"requiredSystemFeatures\\":\[([^\]]{0,1000})\]')
_NAME = re.compile(r"/nix/store/[0-9a-z]{32}-(.+)\.drv")
_MOST = 100


def needs_of(own: str, derivations: Iterable[str]) -> tuple[BuildNeed, ...]:
    """Return what derivations ask of the machine that builds them, each kind once; that of `own` stands first.

    A file that cannot be read asks nothing.
    """
    kinds: dict[tuple[str, tuple[str, ...]], str] = {}
    for derivation in [own, *(one for one in derivations if one != own)]:
        kinds.setdefault(_asked(_text(derivation)), _name(derivation))
    needs = (BuildNeed(platform=platform, features=some, derivation=name) for (platform, some), name in kinds.items())
    return tuple(islice(needs, _MOST))


def _text(derivation: str) -> str:
    with swallowed(_log, f"reading {derivation}", OSError):
        return Path(derivation).read_text(encoding="utf-8", errors="replace")
    return ""


def _asked(text: str) -> tuple[str, tuple[str, ...]]:
    platform = _PLATFORM.search(text)
    features = _FEATURES.search(text)
    structured = _STRUCTURED.search(text)
    words = features[1].split() if features else re.findall(r'\\"([^"\\]+)\\"', structured[1]) if structured else []
    return platform[1] if platform else BUILTIN, tuple(sorted(set(words)))


def _name(derivation: str) -> str:
    named = _NAME.fullmatch(derivation)
    return named[1] if named else derivation
