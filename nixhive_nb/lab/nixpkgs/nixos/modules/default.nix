{
  imports = [
    ./namespaces.nix
    ./environment.nix
    ./services.nix
    ./toplevel.nix
  ];
}
