# Evaluates a NixOS configuration, with the arguments and the result of the real one.
{
  system ? builtins.currentSystem,
  modules,
  specialArgs ? { },
  extraModules ? [ ],
  baseModules ? [ ../modules ],
  extraArgs ? { },
  pkgs ? null,
  lib ? import ../../lib,
  prefix ? [ ],
  check ? true,
  ...
}:
let
  platform = {
    _file = "nixos/lib/eval-config.nix";
    config._module.args = extraArgs;
    config.nixpkgs.system = lib.mkIf (system != null) (lib.mkDefault system);
  };
  chosen = {
    _file = "nixos/lib/eval-config.nix";
    config._module.args.pkgs =
      if pkgs == null then
        lib.mkDefault (import ../.. { inherit (evaluated.config.nixpkgs) system overlays config; })
      else
        pkgs;
  };
  # A system with the configuration of another one within, which has none itself.
  alone = {
    _file = "nixos/lib/eval-config.nix";
    config.specialisation = lib.mkForce { };
  };
  evaluate =
    more:
    lib.evalModules {
      inherit prefix check;
      modules = [ platform chosen ] ++ baseModules ++ extraModules ++ modules ++ more;
      specialArgs = {
        modulesPath = toString ../modules;
        specialised = configuration: (evaluate [ configuration alone ]).config.system.build.toplevel;
      } // specialArgs;
    };
  evaluated = evaluate [ ];
in
evaluated
// {
  inherit lib extraArgs system;
  pkgs = evaluated._module.args.pkgs;
}
