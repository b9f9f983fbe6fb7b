# Instantiates the named systems of a deployment: {"www": {"result": …, "derivation": …}, …}. See `load.toplevel_expression`.
{ names }:
let
  source = import <deployment>;
  deployment = if builtins.isFunction source then source { } else source;

  candidates = builtins.filter (entry: entry.prefix == "nixpkgs") builtins.nixPath;
  tried =
    if candidates == [ ] then "nothing on the Nix search path leads to it"
    else "it is not in ${(builtins.head candidates).path}";
  within = builtins.addErrorContext;
  nixpkgs = if found.success then toString (dirOf (dirOf (dirOf found.value))) else "";
  found = builtins.tryEval <nixpkgs/nixos/lib/eval-config.nix>;
  evalConfig =
    if found.success then import found.value
    else throw "<nixpkgs/nixos/lib/eval-config.nix> was not found: ${tried}. Set `paths.nixpkgs` in the deployment.";

  # Where a module stands: the file of a function that names its arguments, else that of the attribute.
  placeOf = set:
    let
      arguments =
        if builtins.isFunction set.configuration then builtins.functionArgs set.configuration
        else if builtins.isAttrs set.configuration then set.configuration
        else { };
      first = builtins.head (builtins.attrNames arguments);
      inside = if builtins.attrNames arguments == [ ] then null else builtins.unsafeGetAttrPos first arguments;
    in
    if inside == null then builtins.unsafeGetAttrPos "configuration" set else inside;

  # NixOS names the file of a module in what it says, which for a function alone is `<unknown-file>`.
  # It stays a function with the same arguments, and so the same module. Of a path NixOS knows the file.
  named = place: module:
    if place == null then module
    else if builtins.isAttrs module && !(module ? __functor) then { _file = place.file; } // module
    else if !builtins.isFunction module then module
    else {
      __functor = _: arguments:
        let found = module arguments;
        in if builtins.isAttrs found then { _file = place.file; } // found else found;
      __functionArgs = builtins.functionArgs module;
    };

  toplevel = name:
    let
      system = deployment.systems.${name};
      place = placeOf system;
      arguments = {
        modules = [ (named place system.configuration) ];
        system = system.system or builtins.currentSystem;
      } // (system.evalConfigArgs or { });
      derivation = (evalConfig arguments).config.system.build.toplevel;
      # Not named as in Nix: a set with an `outPath` becomes that alone in JSON.
      paths = { result = derivation.outPath; derivation = derivation.drvPath; };
    in
    within "nix-hive: system ${name}" (
      within "nix-hive: described at ${if place == null then "" else "${place.file}:${toString place.line}"}" (
        within "nix-hive: nixpkgs at ${nixpkgs}" (
          builtins.deepSeq paths (builtins.trace "nix-hive: evaluated ${name}" paths))));
in
builtins.listToAttrs (map (name: { inherit name; value = toplevel name; }) (builtins.fromJSON names))
