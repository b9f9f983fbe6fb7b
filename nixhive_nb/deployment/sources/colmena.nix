# Evaluates a raw hive of colmena, to a set with some of the members that colmena's own evaluator gives: `nodes`,
# `deploymentConfig`, `metaConfig`. Written from what colmena's manual says of hives, and compared with its evaluator.
# Where it is hermetic, as in a flake, the hive has to bring its nixpkgs, initialised.
{ kindOf, hermetic ? false }:
given:
let
  inherit (builtins) any attrNames filter functionArgs head isAttrs isFunction isList isPath listToAttrs map
    removeAttrs;

  # FILE:LINE of an attribute, before a message.
  at = set: name:
    let position = builtins.unsafeGetAttrPos name set;
    in if position == null then "" else "${position.file}:${toString position.line}: ";
  listed = builtins.concatStringsSep ", ";

  required = filter (name: !(functionArgs given).${name}) (attrNames (functionArgs given));
  called =
    if isFunction given then
      if required == [ ] then given { }
      else throw "The hive is a function that needs ${listed required}, and is called with { }: give them defaults, or call it in a file of its own."
    else if isAttrs given && given ? __functor then given { }
    else given;
  hive =
    if !isAttrs called then throw "The hive is ${kindOf called}, not an attribute set."
    else if called ? __schema then throw "The hive was evaluated already (it has `__schema`). Name the raw hive, or in a flake its output colmenaHive."
    else if called ? meta && called ? network then throw "${at called "network"}A hive has `meta` or `network`, which is another name for it, and not both."
    else called;

  metaName = if hive ? network then "network" else "meta";
  saidMeta =
    let value = hive.${metaName} or { };
    in
    if isAttrs value || isFunction value || isPath value then value
    else throw "${at hive metaName}`${metaName}` is ${kindOf value}, not an attribute set.";
  metaNames = [
    "allowApplyAll" "description" "machinesFile" "name" "nixpkgs" "nodeNixpkgs" "nodeSpecialArgs" "specialArgs"
  ];
  # It may be any module; mostly it is a mere set, for which nothing has to be evaluated.
  isModule =
    isFunction saidMeta || isPath saidMeta
    || any (name: saidMeta ? ${name}) [ "_file" "config" "imports" "key" "options" ]
    || any (name: name != "nixpkgs" && (saidMeta.${name}._type or null) != null) (attrNames saidMeta);
  isTable = name:
    let value = saidMeta.${name} or { };
    in isAttrs value || throw "${at saidMeta name}`${metaName}.${name}` is ${kindOf value}, not an attribute set.";
  meta =
    let
      strange = removeAttrs saidMeta metaNames;
      unknown = head (attrNames strange);
    in
    if isModule then (common.lib.evalModules { modules = [ metaModule saidMeta ]; }).config
    else if strange == { } then builtins.seq (builtins.all isTable [ "nodeNixpkgs" "nodeSpecialArgs" "specialArgs" ]) saidMeta
    else throw "${at saidMeta unknown}`${metaName}.${unknown}` is not known: there are ${listed metaNames}.";

  metaModule = { lib, ... }:
    let
      inherit (lib) types;
      option = type: default: lib.mkOption { inherit type default; };
      table = option (types.attrsOf types.unspecified) { };
    in
    {
      _file = "colmena: meta";
      options = {
        name = option types.str "hive";
        description = option types.str "A Colmena Hive";
        nixpkgs = option types.unspecified null;
        nodeNixpkgs = table;
        nodeSpecialArgs = table;
        specialArgs = table;
        machinesFile = option (types.nullOr types.path) null;
        allowApplyAll = option types.bool true;
      };
    };

  names = attrNames (removeAttrs hive [ "meta" "network" "defaults" ]);
  nodeNixpkgs = meta.nodeNixpkgs or { };

  # What a hive may give as nixpkgs, as a set of packages. `what` names it in messages.
  packages = what: value:
    let
      missing = "${what} is missing: write `import nixpkgs { system = \"x86_64-linux\"; }`, where `nixpkgs` is an input.";
      uninitialised = "${what} is an input of a flake, not a set of packages: write `import inputs.nixpkgs { system = \"x86_64-linux\"; }`.";
      wrong = "${what} is ${kindOf value}: it has to be a set of packages (`import <nixpkgs> { }`), the path of nixpkgs, or a function that gives one.";
      impure = "${what} is ${kindOf value}, and a flake's hive needs a set of packages: write `import inputs.nixpkgs { system = \"x86_64-linux\"; }`.";
    in
    if value == null then throw missing
    else if hermetic && isAttrs value && value ? outputs then throw uninitialised
    else if hermetic && (isPath value || isFunction value || value ? outPath) then throw impure
    else if isPath value || (isAttrs value && value ? outPath) then packages what (import value)
    # So that the overlays of the user's home folder are not taken.
    else if isFunction value then value { overlays = [ ]; }
    else if isAttrs value && value ? outputs then throw uninitialised
    else if isAttrs value then value
    else throw wrong;

  common =
    if saidMeta ? nixpkgs then packages "${at saidMeta "nixpkgs"}`${metaName}.nixpkgs`" saidMeta.nixpkgs
    else if hermetic then packages "`${metaName}.nixpkgs`" null
    else packages "<nixpkgs>, which is taken without `${metaName}.nixpkgs`," <nixpkgs>;
  packagesOf = name:
    if nodeNixpkgs ? ${name} then packages "${at (saidMeta.nodeNixpkgs or { }) name}`${metaName}.nodeNixpkgs.${name}`" nodeNixpkgs.${name}
    else common;

  # Modules that are no files are named by the file that they stand in.
  named = position: module:
    if position == null then module
    else if isAttrs module && !(module ? __functor) then { _file = position.file; } // module
    else if !isFunction module then module
    else {
      __functor = _: arguments:
        let found = module arguments;
        in if isAttrs found then { _file = position.file; } // found else found;
      __functionArgs = functionArgs module;
    };
  modulesAt = name: map (named (builtins.unsafeGetAttrPos name hive)) (if isList hive.${name} then hive.${name} else [ hive.${name} ]);

  # A node with further modules before its own: what eval-config.nix is given.
  argumentsOf = further: name:
    let pkgs = packagesOf name;
    in {
      inherit (pkgs.stdenv.hostPlatform) system;
      modules =
        further
        ++ [ (nixpkgsModule pkgs) keysModule deploymentModule ]
        ++ (if hive ? defaults then modulesAt "defaults" else [ ])
        ++ modulesAt name;
      # Arguments of this kind may be used in `imports`.
      specialArgs = { inherit name; nodes = unchecked; } // meta.specialArgs or { } // (meta.nodeSpecialArgs or { }).${name} or { };
    };
  evaluated = further: name: import ((packagesOf name).path + "/nixos/lib/eval-config.nix") (argumentsOf further name);
  each = f: listToAttrs (map (name: { inherit name; value = f name; }) names);
  unchecked = each (evaluated [ { _module.check = false; } ]);
  nodeOf = evaluated [ ];

  nixpkgsModule = pkgs: { lib, ... }: {
    _file = "colmena: nixpkgs of `${metaName}`";
    nixpkgs.overlays = lib.mkBefore pkgs.overlays;
    # Until 22.11 it could not be merged.
    nixpkgs.config =
      (if lib.versionAtLeast lib.trivial.release "22.11" then lib.mkBefore else lib.mkOptionDefault) pkgs.config;
  };

  # Units by the names of the keys, which services may be ordered after. Nobody but the user sends keys.
  keysModule = { config, lib, pkgs, ... }:
    let
      inherit (config.deployment) keys;
      early = lib.filterAttrs (_: key: key.uploadAt == "pre-activation") keys;
      owned = key: "[ ! -e ${lib.escapeShellArg key.path} ] || chown ${lib.escapeShellArg "${key.user}:${key.group}"} ${lib.escapeShellArg key.path}\n";
      paths = name: key: lib.nameValuePair "${name}-key" {
        description = "Waits for the key ${key.path}";
        wantedBy = [ "paths.target" ];
        pathConfig.PathExists = key.path;
      };
      services = name: key: lib.nameValuePair "${name}-key" {
        description = "The key ${key.path}";
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          TimeoutStartSec = "infinity";
          ExecStart = pkgs.writeShellScript "await-key" "until [ -e ${lib.escapeShellArg key.path} ]; do sleep 1; done\n";
        };
      };
    in
    {
      _file = "colmena: keys";
      config = lib.mkIf (keys != { }) {
        systemd.paths = lib.mapAttrs' paths keys;
        systemd.services = lib.mapAttrs' services keys;
        system.activationScripts = lib.mkIf (early != { }) {
          colmena-chown-keys = { deps = [ "users" "groups" ]; text = lib.concatStrings (lib.mapAttrsToList (_: owned) early); };
        };
      };
    };

  deploymentModule = { name, lib, ... }:
    let
      inherit (lib) types;
      option = type: default: lib.mkOption { inherit type default; };
      key = { name, config, ... }: {
        options = {
          name = option types.str name;
          text = option (types.nullOr types.str) null;
          keyFile = option (types.nullOr types.path) null;
          keyCommand = option (types.nullOr (types.listOf types.str)) null;
          destDir = option types.path "/run/keys";
          path = option types.path "${toString config.destDir}/${config.name}";
          user = option types.str "root";
          group = option types.str "root";
          permissions = option types.str "0600";
          uploadAt = option (types.enum [ "pre-activation" "post-activation" ]) "pre-activation";
        };
      };
    in
    {
      _file = "colmena: deployment";
      options.deployment = {
        targetHost = option (types.nullOr types.str) name;
        targetPort = option (types.nullOr types.ints.unsigned) null;
        targetUser = option (types.nullOr types.str) "root";
        tags = option (types.listOf types.str) [ ];
        buildOnTarget = option types.bool false;
        replaceUnknownProfiles = option types.bool true;
        privilegeEscalationCommand = option (types.listOf types.str) [ "sudo" "-H" "--" ];
        allowLocalDeployment = option types.bool false;
        sshOptions = option (types.listOf types.str) [ ];
        keys = option (types.attrsOf (types.submodule key)) { };
      };
    };
in
{
  nodes = each nodeOf;
  deploymentConfig = each (name: (nodeOf name).config.deployment);
  metaConfig = {
    name = meta.name or "hive";
    description = meta.description or "A Colmena Hive";
    machinesFile = meta.machinesFile or null;
    allowApplyAll = meta.allowApplyAll or true;
  };
  # What colmena's own evaluator does not give. A node that is asked for by its name is forgotten when it has answered,
  # so that the memory for a fleet is that for one node; a value in `nodes` stays.
  inherit names nodeOf;
  # What colmena's own evaluator does not give: how each node is evaluated, for `convert`.
  arguments = each (argumentsOf [ ]);
  paths = each (name: { nixpkgs = (packagesOf name).path; });
  # For messages.
  said =
    (if isModule then [ metaName ] else map (name: "${metaName}.${name}") (attrNames meta))
    ++ (if hive ? defaults then [ "defaults" ] else [ ]);
  within = name: value:
    let
      position = builtins.unsafeGetAttrPos name hive;
      nixpkgs = builtins.tryEval (toString (packagesOf name).path);
    in
    builtins.addErrorContext "nix-hive: described at ${if position == null then "" else "${position.file}:${toString position.line}"}" (
      builtins.addErrorContext "nix-hive: nixpkgs at ${if nixpkgs.success then nixpkgs.value else ""}" value);
}
