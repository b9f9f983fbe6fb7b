# The stand-in as a flake, with what a deployment takes from that of nixpkgs.
{
  description = "The stand-in for nixpkgs of practice fleets";
  outputs = { self }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = make: builtins.listToAttrs (map (system: { name = system; value = make system; }) systems);
    in
    {
      lib = import ./lib // {
        nixosSystem = arguments: import ./nixos/lib/eval-config.nix ({ system = null; } // arguments);
      };
      legacyPackages = each (system: import ./. { inherit system; });
    };
}
