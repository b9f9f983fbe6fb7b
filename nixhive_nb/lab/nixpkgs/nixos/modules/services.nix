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
  text = value: if value == true then "true" else if value == false then "false" else toString value;
  settings =
    values:
    lib.concatStrings (
      lib.mapAttrsToList (
        name: value: lib.concatMapStrings (one: "${name}=${text one}\n") (if builtins.isList value then value else [ value ])
      ) values
    );
  words = {
    after = "After"; before = "Before"; bindsTo = "BindsTo"; conflicts = "Conflicts"; partOf = "PartOf";
    requires = "Requires"; wants = "Wants";
  };
  flags =
    unit:
    lib.optionalString (unit.reloadIfChanged or false) "X-ReloadIfChanged=true\n"
    + lib.optionalString (!(unit.restartIfChanged or true)) "X-RestartIfChanged=false\n"
    + lib.optionalString (!(unit.stopIfChanged or true)) "X-StopIfChanged=false\n";
  # A unit that says nothing of what it does is one that was done.
  start =
    name: unit:
    if unit ? script then
      "ExecStart=${pkgs.writeShellScript "unit-script-${name}" "set -e\n${unit.script}"}\n"
    else if unit ? serviceConfig.ExecStart then
      ""
    else
      "Type=oneshot\nRemainAfterExit=true\nExecStart=/bin/true\n";
  unitFile =
    name: unit:
    "[Unit]\n"
    + settings (
      { Description = unit.description or name; }
      // lib.mapAttrs' (word: directive: lib.nameValuePair directive (toString unit.${word})) (
        lib.filterAttrs (word: _: unit ? ${word}) words
      )
      // unit.unitConfig or { }
    )
    + "[Service]\n"
    + settings { Environment = lib.mapAttrsToList (key: value: "${key}=${text value}") (unit.environment or { }); }
    + start name unit
    + settings (unit.serviceConfig or { })
    + flags unit;
  wanted =
    name: unit: folder: targets:
    lib.listToAttrs (
      map (target: lib.nameValuePair "systemd/system/${target}.${folder}/${name}.service" { source = "/etc/systemd/system/${name}.service"; }) targets
    );
  links = name: unit: wanted name unit "wants" (unit.wantedBy or [ ]) // wanted name unit "requires" (unit.requiredBy or [ ]);
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
      systemd.services.nginx = { description = "Nginx Web Server"; wantedBy = [ "multi-user.target" ]; };
    })
    (mkIf cfg.nfs.server.enable {
      environment.etc.exports.text = cfg.nfs.server.exports;
      environment.systemPackages = [ pkgs.nfs-utils ];
      systemd.services.nfs-server = { description = "NFS server"; wantedBy = [ "multi-user.target" ]; };
    })
    {
      environment.etc = lib.mapAttrs' (
        name: unit: lib.nameValuePair "systemd/system/${name}.service" { text = unitFile name unit; }
      ) units;
    }
    { environment.etc = lib.mkMerge (lib.mapAttrsToList links units); }
  ];
}
