"""`python -m nixhive_nb` is `nix-hive`."""

from nixhive_nb.cli import main

main()
