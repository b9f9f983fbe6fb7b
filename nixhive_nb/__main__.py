"""`python -m nixhive_nb` is `nix-hive`."""

from nixhive_nb.cli.main import main

main()
