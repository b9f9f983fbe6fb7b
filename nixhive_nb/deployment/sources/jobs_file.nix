# The jobs of a deployment that is a file: `expression` is ours for its format, and `names` a list of JSON.
{ expression, names, file ? null }:
import ./jobs.nix (builtins.fromJSON names) (import expression ({ inherit names; } // (if file == null then { } else { inherit file; })))
