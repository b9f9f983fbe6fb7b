# A network of morph: its machines as plain data, or (with `names`) their systems, or (with `arguments`) what
# eval-config.nix is given for each.
#
# A machine is made of itself, of `defaults`, and of the options that morph declares; packages are those of the network.
# `name` and `nodes` are arguments of modules that no `imports` can ask for. Source: morph's README, examples/*.nix,
# data/eval-machines.nix and data/options.nix. The order of modules is that of morph, since it is the order of what
# lists are joined of; the text with the commands of health checks is part of each system there, and so it is here.
{ file, kindOf, names ? null, arguments ? false }:
let
  inherit (builtins) addErrorContext attrNames concatMap concatStringsSep fromJSON isAttrs isFunction listToAttrs mapAttrs
    removeAttrs;

  source = import file;
  all =
    if isFunction source then throw "a network of morph is an attribute set, and this is a function"
    else if !(source ? network) then throw "a network of morph has an attribute `network`, and this has none"
    else source;
  set = what: value: if isAttrs value then value else throw "${what} is ${kindOf value}, not an attribute set";
  network = set "`network`" all.network;
  pkgs = if network.pkgs or null == null then null else set "`network.pkgs`" network.pkgs;
  lib = network.lib or (if pkgs == null then import <nixpkgs/lib> else pkgs.lib);
  # Added to the path and not put into a text, which would copy all of nixpkgs to the store.
  evalConfig = network.evalConfig or ((if pkgs == null then <nixpkgs> else pkgs.path) + "/nixos/lib/eval-config.nix");

  machines = removeAttrs all [ "network" "defaults" "resources" "require" "_file" ];

  check = with lib; mkOption { type = types.listOf types.anything; default = [ ]; };
  options = with lib; {
    targetHost = mkOption { type = types.str; default = ""; };
    targetPort = mkOption { type = types.nullOr types.int; default = null; };
    targetUser = mkOption { type = types.str; default = ""; };
    buildOnly = mkOption { type = types.bool; default = false; };
    substituteOnDestination = mkOption { type = types.bool; default = false; };
    tags = mkOption { type = types.listOf types.str; default = [ ]; };
    secrets = mkOption { type = types.lazyAttrsOf types.raw; default = { }; };
    healthChecks = { http = check; cmd = check; };
    preDeployChecks = { http = check; cmd = check; };
  };
  commands = said: concatMap (one: one.cmd or [ ]) (said.preDeployChecks.cmd ++ said.healthChecks.cmd);
  declared = { config, pkgs, ... }: {
    options.deployment = options;
    config.system.extraDependencies = [
      (pkgs.writeText "healthcheck-commands.txt" (concatStringsSep "\n" (commands config.deployment)))
    ];
  };

  given = check: name: machine: {
    # As there: NixOS takes it from its modules.
    system = null;
    specialArgs = set "`network.specialArgs`" (network.specialArgs or { });
    modules = [
      { imports = [ machine ]; }
      (all.defaults or { })
      {
        key = "deploy-stuff";
        imports = [ declared ];
        config = {
          networking.hostName = lib.mkDefault name;
          deployment.targetHost = lib.mkDefault name;
          _module.args = { inherit name; nodes = unchecked; };
          _module.check = check;
        } // (if pkgs == null then { } else { nixpkgs.pkgs = lib.mkDefault pkgs; });
      }
    ] ++ (if all ? _file then [ { inherit (all) _file; } ] else [ ]);
  };
  node = check: name: machine: import evalConfig (given check name machine);
  nodes = mapAttrs (node true) machines;
  # What others say of a node may be more than what that one knows.
  unchecked = mapAttrs (node false) machines;

  read = builtins.trace "nix-hive: read one of ${toString (builtins.length (attrNames machines))}";
  described = name: one:
    let said = one.config.deployment;
    in
    addErrorContext "nix-hive: machine ${name}" (builtins.seq said.targetHost (read {
      inherit (said) targetHost targetPort targetUser buildOnly substituteOnDestination tags healthChecks;
      # Nothing that is secret is looked at.
      secrets = attrNames said.secrets;
      preDeployChecks = builtins.length (said.preDeployChecks.http ++ said.preDeployChecks.cmd);
    }));
  toplevel = name:
    let
      derivation = nodes.${name}.config.system.build.toplevel;
      # Not named as in Nix: a set with an `outPath` becomes that alone in JSON.
      paths = { result = derivation.outPath; derivation = derivation.drvPath; };
    in
    { inherit name; value = addErrorContext "nix-hive: system ${name}" (builtins.deepSeq paths (builtins.trace "nix-hive: evaluated ${name}" paths)); };
in
if arguments then mapAttrs (given true) machines
else if names != null then listToAttrs (map toplevel (fromJSON names))
else {
  nodes = mapAttrs described nodes;
  ordering = network.ordering.tags or [ ];
  nixConfig = network.nixConfig or { };
  known = attrNames network;
}
