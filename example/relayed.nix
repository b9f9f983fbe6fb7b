# For hosts behind portico: they have no way out, and fetch store paths from portico.
{ relay }:
{ lib, ... }:
{
  nix.settings = {
    # No public cache: it cannot be reached from there, and each attempt would cost its timeout.
    substituters = lib.mkForce [ "ssh://portico" ];
    trusted-public-keys = [ relay.publicKey ];
  };
  # Nix runs `ssh portico` as root. The key has to be brought to the host by other means than its configuration:
  # whatever is in the store can be read by every process.
  programs.ssh.extraConfig = ''
    Host portico
      Hostname ${relay.address}
      User nix-ssh
      IdentityFile /root/keys/relay
  '';
  programs.ssh.knownHosts = lib.optionalAttrs (relay.hostKeys != [ ]) {
    portico = {
      hostNames = [
        "portico"
        relay.address
      ];
      publicKey = builtins.head relay.hostKeys;
    };
  };
}
