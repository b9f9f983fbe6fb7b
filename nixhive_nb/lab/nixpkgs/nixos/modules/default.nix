{
  imports = [
    ./namespaces.nix
    ./environment.nix
    ./services.nix
    ./switching.nix
    ./toplevel.nix
  ];
}
