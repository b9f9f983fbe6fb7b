# The jump host. It is the only one with a public address, and the others get their systems from its store.
{ publicKey }:
{ ... }:
{
  imports = [ ./instance.nix ];

  networking.hostName = "portico";
  networking.firewall.allowedTCPPorts = [ 22 ];

  environment.etc.motd.text = "This is portico, the way in.";

  # A restricted login, `nix-ssh`, that may read the store and do nothing else. List the other hosts' keys here.
  nix.sshServe = {
    enable = true;
    keys = [ ];
  };
  nix.settings.trusted-public-keys = [ publicKey ];
}
