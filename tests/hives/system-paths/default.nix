# Every form of an include path, and a system that has its own nixpkgs.
let
  # A derivation, or what `fetchGit` gives: something that Nix turns into a string.
  pinned = { outPath = "/srv/pinned"; };
in
{
  paths = {
    nixpkgs = "https://nixos.org/channels/nixos-unstable/nixexprs.tar.xz";
    secrets = /srv/secrets;
    inherit pinned;
  };
  systems = {
    www.configuration = { ... }: { };
    db = {
      configuration = { ... }: { };
      system = "aarch64-linux";
      paths = {
        overlays = "/srv/overlays";
        nixpkgs = "https://nixos.org/channels/nixos-22.05/nixexprs.tar.xz";
      };
    };
  };
  instances = {
    www-1.system = "www";
    db-1.system = "db";
  };
}
