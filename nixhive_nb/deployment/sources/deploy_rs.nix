# The nodes of deploy-rs as plain data: no profile's `path`, and so no configuration, is looked at.
{ kindOf, settings }:
deploy:
let
  set = what: value: if builtins.isAttrs value then value else throw "${what} is ${kindOf value}, not an attribute set.";
  asked = builtins.listToAttrs (map (name: { inherit name; value = null; }) settings);
  # What is null is not set, as there.
  settingsOf = builtins.intersectAttrs asked;
  known = settings ++ [ "hostname" "profiles" "profilesOrder" ];
  strangersOf = names: from: builtins.attrNames (builtins.removeAttrs from names);
  profileOf = node: name: value:
    let profile = set "`profiles.${name}` of node ${node}" value;
    in {
      settings = settingsOf profile;
      profilePath = profile.profilePath or null;
      strangers = strangersOf (settings ++ [ "path" "profilePath" ]) profile;
    };
  node = name: given:
    let value = set "node ${name} of deploy-rs" given;
    in builtins.addErrorContext "nix-hive: node ${name}" {
      hostname = value.hostname or (throw "node ${name} of deploy-rs has no `hostname`");
      settings = settingsOf value;
      profiles = builtins.mapAttrs (profileOf name) (set "`profiles` of node ${name}" (value.profiles or { }));
      profilesOrder = value.profilesOrder or [ ];
      strangers = strangersOf known value;
    };
in
{
  settings = settingsOf deploy;
  strangers = strangersOf (settings ++ [ "nodes" ]) deploy;
  nodes = builtins.mapAttrs node (set "`nodes` of deploy-rs" (deploy.nodes or { }));
}
