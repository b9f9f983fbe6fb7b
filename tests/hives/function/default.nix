# A deployment may be a function, if it can do without arguments; its instances may come from a program's file.
{ file ? ./instances.json, ... }:
{
  systems.www.configuration = import ./www.nix;
  instances = builtins.mapAttrs (name: address: { system = "www"; ssh.Hostname = address; })
    (builtins.fromJSON (builtins.readFile file));
}
