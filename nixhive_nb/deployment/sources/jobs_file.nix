# The jobs of a deployment that is a file: `expression` is ours for its format, and `names` a list of JSON.
{ expression, names, file ? null }:
let
  # A network of morph has no name to be found by.
  given = if file == null then { } else { inherit file; kindOf = import ./kind_of.nix; };
in
import ./jobs.nix (builtins.fromJSON names) (import expression ({ inherit names; } // given))
