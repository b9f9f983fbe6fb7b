# A network of morph: its machines as plain data, or (with `names`) their systems.
#
# A machine is made of itself, of `defaults`, and of the options that morph declares; packages are those of the network.
# `name` and `nodes` are arguments of modules that no `imports` can ask for. Source: morph's README and
# examples/*.nix; its own evaluator is data/eval-machines.nix.
{ file, names ? null }:
let
  inherit (builtins) addErrorContext attrNames fromJSON isAttrs isFunction listToAttrs mapAttrs removeAttrs;

  source = import file;
  all =
    if isFunction source then throw "a network of morph is an attribute set, and this is a function"
    else if !(isAttrs (source.network or null)) then throw "a network of morph has an attribute `network`, and this has none"
    else source;
  inherit (all) network;
  pkgs = network.pkgs or null;
  lib = network.lib or (if pkgs == null then import <nixpkgs/lib> else pkgs.lib);
  evalConfig = network.evalConfig or "${if pkgs == null then <nixpkgs> else pkgs.path}/nixos/lib/eval-config.nix";

  machines = removeAttrs all [ "network" "defaults" "resources" "require" "_file" ];

  check = with lib; mkOption { type = types.listOf types.anything; default = [ ]; };
  options = with lib; {
    targetHost = mkOption { type = types.str; };
    targetPort = mkOption { type = types.nullOr types.int; default = null; };
    targetUser = mkOption { type = types.str; default = ""; };
    buildOnly = mkOption { type = types.bool; default = false; };
    substituteOnDestination = mkOption { type = types.bool; default = false; };
    tags = mkOption { type = types.listOf types.str; default = [ ]; };
    secrets = mkOption { type = types.lazyAttrsOf types.raw; default = { }; };
    healthChecks = { http = check; cmd = check; };
    preDeployChecks = { http = check; cmd = check; };
  };

  node = name: machine:
    import evalConfig {
      modules = [
        { imports = [ machine ] ++ lib.optional (all ? defaults) all.defaults; }
        {
          key = "morph";
          options.deployment = options;
          config = {
            networking.hostName = lib.mkDefault name;
            deployment.targetHost = lib.mkDefault name;
            _module.args = { inherit name; nodes = unchecked; };
          } // (if pkgs == null then { } else { nixpkgs.pkgs = lib.mkDefault pkgs; });
        }
      ];
      specialArgs = network.specialArgs or { };
    };
  nodes = mapAttrs node machines;
  # What others say of a node may be more than what that one knows.
  unchecked = mapAttrs (name: machine: node name { imports = [ machine ]; _module.check = false; }) machines;

  described = name: one:
    let said = one.config.deployment;
    in addErrorContext "nix-hive: machine ${name}" {
      inherit (said) targetHost targetPort targetUser buildOnly substituteOnDestination tags healthChecks;
      # Nothing that is secret is looked at.
      secrets = attrNames said.secrets;
      preDeployChecks = builtins.length (said.preDeployChecks.http ++ said.preDeployChecks.cmd);
    };
  toplevel = name:
    let
      derivation = nodes.${name}.config.system.build.toplevel;
      # Not named as in Nix: a set with an `outPath` becomes that alone in JSON.
      paths = { result = derivation.outPath; derivation = derivation.drvPath; };
    in
    { inherit name; value = addErrorContext "nix-hive: system ${name}" (builtins.deepSeq paths paths); };
in
if names != null then listToAttrs (map toplevel (fromJSON names))
else {
  nodes = mapAttrs described nodes;
  ordering = network.ordering.tags or [ ];
  nixConfig = network.nixConfig or { };
  known = attrNames network;
}
