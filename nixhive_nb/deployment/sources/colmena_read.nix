# What Python needs of an evaluated hive of colmena, as JSON. Of keys all but what they hold: that is never looked at.
hive:
let
  within = hive.within or (name: value: value);
  count = builtins.length (if hive ? nodeOf then hive.names else builtins.attrNames hive.deploymentConfig);
  read = builtins.trace "nix-hive: read one of ${toString count}";
  key = key: {
    inherit (key) user group permissions uploadAt;
    path = toString (key.path or "${toString key.destDir}/${key.name}");
  };
  # Options that came with later versions of colmena may be missing from what evaluated the hive.
  node = name: deployment:
    let
      found = {
        inherit (deployment) targetHost targetPort targetUser tags;
        sshOptions = deployment.sshOptions or [ ];
        privilegeEscalationCommand = deployment.privilegeEscalationCommand or [ "sudo" "-H" "--" ];
        buildOnTarget = deployment.buildOnTarget or false;
        replaceUnknownProfiles = deployment.replaceUnknownProfiles or true;
        allowLocalDeployment = deployment.allowLocalDeployment or false;
        keys = builtins.mapAttrs (_: key) (deployment.keys or { });
      };
    in
    builtins.addErrorContext "nix-hive: node ${name}" (within name (builtins.deepSeq found (read found)));
  each = f: names: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
  meta = hive.metaConfig or { };
in
{
  nodes =
    if hive ? nodeOf then each (name: node name (hive.nodeOf name).config.deployment) hive.names
    else builtins.mapAttrs node hive.deploymentConfig;
  said = hive.said or null;
  meta = {
    name = meta.name or "hive";
    description = meta.description or "";
    allowApplyAll = meta.allowApplyAll or true;
    machinesFile = if meta.machinesFile or null == null then null else toString meta.machinesFile;
  };
}
