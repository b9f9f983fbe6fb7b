# Instantiates the systems of nodes of deploy-rs: {"www": {"result": …, "derivation": …}, …}.
#
# A profile's `path` is an environment that holds a NixOS system and the scripts of deploy-rs. Here the system itself is
# wanted, which is an input of it: of all that the derivation names, the one that is called `nixos-system-…`, as NixOS
# calls each of its systems. To take `nixosConfigurations` in its place would be a guess: nothing says that a node has
# its own name there.
{ names, profile }:
deploy:
let
  # The scripts beside a system are called after it.
  isSystem = file:
    builtins.match ".*/[a-z0-9]+-nixos-system-.*" file != null
    && builtins.match ".*-activate-(path|rs)(\\.drv)?" file == null;
  pathsIn = text: builtins.concatLists (builtins.filter builtins.isList (builtins.split "(/[^ \"\\]*/[a-z0-9]+-[^ /\"\\]*)" text));
  found = name:
    let
      path = deploy.nodes.${name}.profiles.${profile}.path;
      # Whatever the attributes of the environment are called: in JSON all that it is made of is one text.
      all = builtins.toJSON (path.drvAttrs or { });
      plain = builtins.unsafeDiscardStringContext all;
      derivations = builtins.filter isSystem (builtins.attrNames (builtins.getContext all));
      results = builtins.filter isSystem (pathsIn plain);
      isItself = isSystem (builtins.unsafeDiscardStringContext (toString path));
    in
    if isItself then { result = path.outPath; derivation = path.drvPath; }
    else if builtins.length derivations == 1 && results != [ ]
    then { result = builtins.head results; derivation = builtins.head derivations; }
    else throw "profile ${profile} of node ${name} holds ${if derivations == [ ] then "no NixOS system" else "several NixOS systems"}: make it by `deploy-rs.lib.SYSTEM.activate.nixos`";
  toplevel = name:
    let paths = found name;
    in builtins.addErrorContext "nix-hive: system ${name}" (builtins.deepSeq paths (builtins.trace "nix-hive: evaluated ${name}" paths));
in
builtins.listToAttrs (map (name: { inherit name; value = toplevel name; }) names)
