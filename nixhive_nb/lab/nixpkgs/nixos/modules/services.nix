# The few services that leave something to see on a practice host, and the units that a switch runs.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption mkEnableOption mkIf types;
  cfg = config.services;

  server = name: host: ''
    server {
      server_name ${if host.default or false then "_" else name};
      root ${toString (host.root or "/var/empty")};
    ${lib.concatStrings (
      lib.mapAttrsToList (path: location: ''
        location ${path} {
          ${lib.optionalString (location ? proxyPass) "proxy_pass ${location.proxyPass};"}
          ${lib.optionalString (location ? root) "root ${toString location.root};"}
        }
      '') (host.locations or { })
    )}}
  '';
  units = lib.filterAttrs (_: unit: unit.enable or true) config.systemd.services;
  unitFile = name: unit: ''
    [Unit]
    Description=${unit.description or name}
    [Service]
    ${lib.optionalString (unit ? script) "ExecStart=${pkgs.writeShellScript "unit-script-${name}" "set -e\n${unit.script}"}"}
    ${lib.optionalString (unit ? serviceConfig.ExecStart) "ExecStart=${toString unit.serviceConfig.ExecStart}"}
  '';
in
{
  options = {
    services = {
      _free = true;
      nginx = {
        _free = true;
        enable = mkEnableOption "nginx";
        virtualHosts = mkOption { type = types.attrsOf types.anything; default = { }; };
      };
      openssh = {
        _free = true;
        enable = mkEnableOption "sshd";
      };
      nfs.server = {
        _free = true;
        enable = mkEnableOption "the NFS server";
        exports = mkOption { type = types.lines; default = ""; };
      };
    };
    systemd = {
      _free = true;
      package = mkOption { type = types.package; default = pkgs.systemd; };
      services = mkOption { type = types.attrsOf types.anything; default = { }; };
    };
  };
  config = lib.mkMerge [
    (mkIf cfg.nginx.enable {
      environment.etc."nginx/nginx.conf".text = lib.concatStrings (lib.mapAttrsToList server cfg.nginx.virtualHosts);
      environment.systemPackages = [ pkgs.nginx ];
      systemd.services.nginx.description = "Nginx Web Server";
    })
    (mkIf cfg.nfs.server.enable {
      environment.etc.exports.text = cfg.nfs.server.exports;
      environment.systemPackages = [ pkgs.nfs-utils ];
      systemd.services.nfs-server.description = "NFS server";
    })
    {
      environment.etc = lib.mapAttrs' (
        name: unit: lib.nameValuePair "systemd/system/${name}.service" { text = unitFile name unit; }
      ) units;
    }
  ];
}
