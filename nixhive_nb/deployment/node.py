"""A value of a deployment as `inventory.nix` gives it: with its type, and the place where it stands."""

from __future__ import annotations

import msgspec

KINDS = {
    "string": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "a boolean",
    "list": "a list",
    "set": "an attribute set",
    "derivation": "a derivation",
    "lambda": "a function",
    "path": "a path",
    "null": "null",
}
"""What the types are called."""


class Node(msgspec.Struct, frozen=True):
    """A value of the deployment: its type in Nix and, as far as the type has it, its content."""

    type: str
    value: str | int | float | bool | None = None
    items: tuple[Node, ...] = ()
    members: dict[str, Node] = {}
    at: tuple[str, int] | None = None
    """File and line of the attribute that holds the value."""
