"""The terminal face: the program `nix-hive`."""
