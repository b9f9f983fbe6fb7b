# Instantiates the named systems of a deployment: {"www": {"result": …, "derivation": …}, …}. See `load.toplevel_expression`.
{ names }:
let
  source = import <deployment>;
  deployment = if builtins.isFunction source then source { } else source;

  candidates = builtins.filter (entry: entry.prefix == "nixpkgs") builtins.nixPath;
  tried =
    if candidates == [ ] then "nothing on the Nix search path leads to it"
    else "it is not in ${(builtins.head candidates).path}";
  found = builtins.tryEval <nixpkgs/nixos/lib/eval-config.nix>;
  evalConfig =
    if found.success then import found.value
    else throw "<nixpkgs/nixos/lib/eval-config.nix> was not found: ${tried}. Set `paths.nixpkgs` in the deployment.";

  toplevel = name:
    let
      system = deployment.systems.${name};
      arguments = {
        modules = [ system.configuration ];
        system = system.system or builtins.currentSystem;
      } // (system.evalConfigArgs or { });
      derivation = (evalConfig arguments).config.system.build.toplevel;
      # Not named as in Nix: a set with an `outPath` becomes that alone in JSON.
      paths = { result = derivation.outPath; derivation = derivation.drvPath; };
    in
    builtins.addErrorContext "nix-hive: system ${name}" (builtins.deepSeq paths paths);
in
builtins.listToAttrs (map (name: { inherit name; value = toplevel name; }) (builtins.fromJSON names))
