"""Nix on this machine, and moving systems from store to store."""
