# A set of packages that is given as it is, in place of one that is made for the system.
{ config, lib, ... }:
let
  inherit (config.nixpkgs) pkgs;
in
{
  options.nixpkgs.pkgs = lib.mkOption { type = lib.types.raw; default = null; };
  config = {
    _module.args.pkgs = lib.mkIf (pkgs != null) pkgs;
    nixpkgs.system = lib.mkIf (pkgs != null) (lib.mkOptionDefault pkgs.stdenv.hostPlatform.system);
  };
}
