"""The formats of deployments by name."""

from __future__ import annotations

from typing import Literal

Format = Literal["hive", "flake", "colmena", "deploy-rs", "morph"]
FORMATS: tuple[Format, ...] = ("hive", "flake", "colmena", "deploy-rs", "morph")
"""All of them. `hive` is our own."""
GIVES_SSH_THE_ADDRESS: tuple[str, ...] = ("colmena", "deploy-rs", "morph")
"""Formats whose own tools call ssh with the address of a node, so that it may be a name of the user's own."""
