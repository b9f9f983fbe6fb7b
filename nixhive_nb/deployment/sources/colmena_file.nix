# Reads the hive of colmena at <deployment>; where `names`, a list of JSON, is not empty, instantiates these nodes of it.
{ names }:
let
  hive = import ./colmena.nix { kindOf = import ./kind_of.nix; } (import <deployment>);
in
if names == "" then import ./colmena_read.nix hive
else import ./colmena_toplevels.nix { names = builtins.fromJSON names; } hive
