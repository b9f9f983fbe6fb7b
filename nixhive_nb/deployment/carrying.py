"""What a deployment says of who carries the commands of an instance: `carrier`."""

from __future__ import annotations

from typing import Literal, get_args

Wanted = Literal["auto", "fabric", "openssh"]
"""With `auto` it is Fabric, unless a host asks for what that has not."""
CARRIERS: tuple[Wanted, ...] = get_args(Wanted)


def carrier_of(text: str) -> Wanted | None:
    """Return the carrier that a text names; None for another text."""
    return next((one for one in CARRIERS if one == text), None)
