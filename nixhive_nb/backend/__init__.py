"""What touches the world: Nix, OpenSSH and Fabric behind one protocol."""
