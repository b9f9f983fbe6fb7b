# The first words of the options that NixOS has. Below them everything is accepted; what is declared elsewhere is typed.
{ config, lib, ... }:
let
  names = [
    "assertions" "boot" "console" "containers" "documentation" "environment" "fileSystems" "fonts" "hardware" "i18n"
    "location" "meta" "networking" "nix" "nixpkgs" "powerManagement" "programs" "security" "services" "swapDevices"
    "system" "systemd" "time" "users" "virtualisation" "warnings" "xdg" "zramSwap"
  ];
  inherit (lib) mkOption types;
in
{
  options = lib.genAttrs names (_: { _free = true; }) // {
    assertions = mkOption { type = types.listOf types.raw; default = [ ]; };
    warnings = mkOption { type = types.listOf types.str; default = [ ]; };
    swapDevices = mkOption { type = types.listOf types.anything; default = [ ]; };
    fileSystems = mkOption { type = types.attrsOf types.anything; default = { }; };
    nixpkgs = {
      _free = true;
      system = mkOption { type = types.str; };
      # Goes before `system`.
      hostPlatform = mkOption {
        type = types.nullOr (types.either types.str types.attrs);
        default = null;
        apply = platform: if builtins.isString platform then { system = platform; } else platform;
      };
      overlays = mkOption { type = types.listOf types.raw; default = [ ]; };
      config = mkOption { type = types.attrs; default = { }; };
    };
    nix = {
      _free = true;
      settings = mkOption { type = types.anything; default = { }; };
    };
    users = {
      _free = true;
      users = mkOption { type = types.attrsOf types.anything; default = { }; };
      groups = mkOption { type = types.attrsOf types.anything; default = { }; };
    };
  };
  config.nixpkgs.system = lib.mkIf (config.nixpkgs.hostPlatform != null) config.nixpkgs.hostPlatform.system;
}
