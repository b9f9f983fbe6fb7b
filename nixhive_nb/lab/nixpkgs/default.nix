{
  system ? builtins.currentSystem,
  overlays ? [ ],
  config ? { },
  ...
}:
import ./pkgs { inherit system overlays config; }
