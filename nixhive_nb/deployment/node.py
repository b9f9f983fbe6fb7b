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


Scalar = str | int | float | bool


class Plain(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """An instance that holds nothing but texts, numbers and lists of them. Its checks are not in it."""

    carrier: str = "auto"
    elevate: str | tuple[str, ...] | None = None
    host_keys: tuple[str, ...] = ()
    host_cas: tuple[str, ...] = msgspec.field(default=(), name="hostCAs")
    ssh: dict[str, Scalar | tuple[Scalar, ...]] = {}
    store: str = ""
    system: str = ""
    tags: tuple[str, ...] = ()


class Node(msgspec.Struct, frozen=True, gc=False):
    """A value of the deployment: its type in Nix and, as far as the type has it, its content."""

    type: str = "plain"
    value: str | int | float | bool | None = None
    items: tuple[Node, ...] = ()
    members: dict[str, Node] = {}
    at: tuple[str, int] | None = None
    """File and line of the attribute that holds the value."""
    plain: Plain | None = None
    """In place of all else but the checks: an instance that is given as it is, without places."""
