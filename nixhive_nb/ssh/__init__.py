"""One connection to one host. It knows no Nix."""
