# Instantiates the named nodes of an evaluated hive of colmena: {"www": {"result": …, "derivation": …}, …}.
{ names }:
hive:
let
  within = hive.within or (name: value: value);
  toplevel = name:
    let
      node = if hive ? nodeOf then hive.nodeOf name else hive.nodes.${name};
      derivation = node.config.system.build.toplevel;
      # Not named as in Nix: a set with an `outPath` becomes that alone in JSON.
      paths = { result = derivation.outPath; derivation = derivation.drvPath; };
    in
    builtins.addErrorContext "nix-hive: system ${name}" (within name (builtins.deepSeq paths (builtins.trace "nix-hive: evaluated ${name}" paths)));
in
builtins.listToAttrs (map (name: { inherit name; value = toplevel name; }) names)
