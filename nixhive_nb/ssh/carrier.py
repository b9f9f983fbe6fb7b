"""What carries the commands of a host: Fabric in this process, or OpenSSH beside it. Which, and why."""

from __future__ import annotations

from typing import Literal

import msgspec

CarrierName = Literal["fabric", "openssh"]


class Carrier(msgspec.Struct, frozen=True, kw_only=True):
    """What carries the commands of one host."""

    name: CarrierName
    why: str = ""
    """Why it is this one, in words for a person; empty where that is what is usual."""


USUAL = Carrier(name="fabric")
