{
  imports = [
    ./namespaces.nix
    ./pkgs.nix
    ./environment.nix
    ./services.nix
    ./switching.nix
    ./toplevel.nix
  ];
}
