{
  system ? builtins.currentSystem,
  ...
}:
import ./pkgs { inherit system; }
