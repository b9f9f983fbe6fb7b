"""The formats of deployments by name."""

from __future__ import annotations

from typing import Literal

Format = Literal["hive", "flake", "colmena", "deploy-rs", "morph"]
FORMATS: tuple[Format, ...] = ("hive", "flake", "colmena", "deploy-rs", "morph")
"""All of them. `hive` is our own."""
