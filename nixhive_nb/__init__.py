"""NixOS fleets from a notebook."""
