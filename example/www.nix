# A web server. One system for any number of them, so nothing in it may name a single one.
{ relay }:
{ lib, ... }:
{
  imports = [
    ./instance.nix
    (import ./relayed.nix { inherit relay; })
  ];

  # Each web server gets its name by DHCP.
  networking.hostName = lib.mkDefault "";
  networking.firewall.allowedTCPPorts = [ 80 ];

  services.nginx = {
    enable = true;
    virtualHosts.default = {
      default = true;
      root = "/etc/www";
    };
  };
  environment.etc."www/index.html".text = ''
    <!doctype html>
    <title>From the fleet</title>
    <p>Good morning from one of the web servers.</p>
  '';
  environment.etc.motd.text = "This is a web server.";
}
