# Instantiates the named systems of a set of NixOS configurations: {"www": {"result": …, "derivation": …}, …}.
{ names }:
configurations:
let
  toplevel = name:
    let
      derivation = configurations.${name}.config.system.build.toplevel;
      # Not named as in Nix: a set with an `outPath` becomes that alone in JSON.
      paths = { result = derivation.outPath; derivation = derivation.drvPath; };
    in
    builtins.addErrorContext "nix-hive: system ${name}" (builtins.deepSeq paths (builtins.trace "nix-hive: evaluated ${name}" paths));
in
builtins.listToAttrs (map (name: { inherit name; value = toplevel name; }) names)
