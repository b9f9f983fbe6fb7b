# The nodes of deploy-rs as plain data: no profile's `path`, and so no configuration, is looked at.
deploy:
let
  settings = [
    "activationTimeout" "autoRollback" "confirmTimeout" "fastConnection" "interactiveSudo" "magicRollback" "remoteBuild"
    "sshOpts" "sshUser" "sudo" "tempPath" "user"
  ];
  asked = builtins.listToAttrs (map (name: { inherit name; value = null; }) settings);
  # What is null is not set, as there.
  settingsOf = set: builtins.intersectAttrs asked set;
  known = settings ++ [ "hostname" "profiles" "profilesOrder" ];
  strangersOf = names: set: builtins.attrNames (builtins.removeAttrs set names);
  node = name: value:
    builtins.addErrorContext "nix-hive: node ${name}" {
      hostname = value.hostname or (throw "node ${name} of deploy-rs has no `hostname`");
      settings = settingsOf value;
      profiles = builtins.mapAttrs
        (_: profile: {
          settings = settingsOf profile;
          profilePath = profile.profilePath or null;
          strangers = strangersOf (settings ++ [ "path" "profilePath" ]) profile;
        })
        (value.profiles or { });
      order = value.profilesOrder or [ ];
      strangers = strangersOf known value;
    };
in
{
  settings = settingsOf deploy;
  strangers = strangersOf (settings ++ [ "nodes" ]) deploy;
  nodes = builtins.mapAttrs node (deploy.nodes or { });
}
