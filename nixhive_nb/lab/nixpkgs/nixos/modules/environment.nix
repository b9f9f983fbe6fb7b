# The files under /etc, and the programs of the system.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  etcFile =
    { name, config, ... }:
    {
      options = {
        enable = mkOption { type = types.bool; default = true; };
        target = mkOption { type = types.str; default = name; };
        text = mkOption { type = types.nullOr types.lines; default = null; };
        source = mkOption { type = types.path; };
        mode = mkOption { type = types.str; default = "symlink"; };
        user = mkOption { type = types.str; default = "+0"; };
        group = mkOption { type = types.str; default = "+0"; };
        uid = mkOption { type = types.int; default = 0; };
        gid = mkOption { type = types.int; default = 0; };
      };
      config.source = lib.mkIf (config.text != null) (lib.mkDefault (pkgs.writeText "etc-${baseNameOf name}" config.text));
    };
  # As NixOS has it: a script with what it tells in a line of its own.
  nixosVersion = pkgs.writeShellScriptBin "nixos-version" ''
    case "$1" in
      --json)
        cat <<EOF
    ${builtins.toJSON ({ nixosVersion = config.system.nixos.version; } // lib.optionalAttrs (config.system.configurationRevision != null) { inherit (config.system) configurationRevision; })}
    EOF
        ;;
      *) echo "${config.system.nixos.version}" ;;
    esac
  '';
  files = builtins.filter (file: file.enable) (builtins.attrValues config.environment.etc);
in
{
  options = {
    environment = {
      _free = true;
      etc = mkOption { type = types.attrsOf (types.submodule etcFile); default = { }; };
      systemPackages = mkOption { type = types.listOf types.package; default = [ ]; };
    };
    networking = {
      _free = true;
      hostName = mkOption { type = types.strMatching "$|^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$|"; default = "nixos"; };
    };
    system = {
      _free = true;
      build = mkOption { type = types.lazyAttrsOf types.raw; default = { }; };
      path = mkOption { type = types.package; };
      configurationRevision = mkOption { type = types.nullOr types.str; default = null; };
    };
  };
  config = {
    system.path = pkgs.symlinkJoin {
      name = "system-path";
      paths = config.environment.systemPackages ++ [ nixosVersion ];
    };
    # `etc/NAME` is a link; beside it, under `modes/`, what to copy it with, if it is to be a file of its own.
    system.build.etc = pkgs.runCommand "etc" { } (
      ''
        mkdir -p "$out/etc" "$out/modes"
      ''
      + lib.concatMapStrings (file: ''
        mkdir -p "$(dirname "$out/etc/"${lib.escapeShellArg file.target})"
        ln -s ${lib.escapeShellArg "${file.source}"} "$out/etc/"${lib.escapeShellArg file.target}
        ${lib.optionalString (file.mode != "symlink") ''
          mkdir -p "$(dirname "$out/modes/"${lib.escapeShellArg file.target})"
          echo ${lib.escapeShellArg file.mode} >"$out/modes/"${lib.escapeShellArg file.target}
        ''}
      '') files
    );
  };
}
