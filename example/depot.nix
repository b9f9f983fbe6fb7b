# The storage server: files for the web servers, over NFS, on the inner network only.
{ relay }:
{ ... }:
{
  imports = [
    ./instance.nix
    (import ./relayed.nix { inherit relay; })
  ];

  networking.hostName = "depot";
  networking.firewall.allowedTCPPorts = [ 2049 ];

  services.nfs.server = {
    enable = true;
    exports = ''
      /srv/depot 10.20.0.0/24(ro,no_subtree_check)
    '';
  };
  systemd.tmpfiles.rules = [ "d /srv/depot 0755 root root -" ];

  environment.etc.motd.text = "This is depot, where the files are.";
}
