# What is ours and not Nix-Hive's: the keys of hosts, and the key that signs what is built.
{
  signing.keyFile = "/etc/nix/keys/example.secret";
  systems.portico.configuration = { ... }: { };
  instances = {
    portico = {
      system = "portico";
      hostKeys = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICxszIbEMgXks8n0EhULivLVfhmjE2hz4HEx7fRTCA6S"
        (builtins.readFile ./portico.pub)
      ];
    };
    other = { system = "portico"; hostKeys = [ ]; };
  };
}
