# The system as one store path, of the shape that NixOS gives it.
{ config, lib, pkgs, specialised, ... }:
let
  inherit (lib) mkOption types;
  sizes = import ../../sizes.nix;
  kernel = config.boot.kernelPackages.kernel;

  textOf = script: if builtins.isString script then script else script.text or "";
  dependenciesOf = script: if builtins.isString script then [ ] else script.deps or [ ];
  scripts = config.system.activationScripts;
  # Each after what it depends on; otherwise in order of name.
  ordered = builtins.foldl' (done: name: visit [ ] done name) [ ] (builtins.attrNames scripts);
  visit =
    path: done: name:
    if builtins.elem name done then
      done
    else if builtins.elem name path then
      throw "The activation script `${name}' depends on itself."
    else if !(scripts ? ${name}) then
      if builtins.elem name [ "etc" "users" "groups" "specialfs" "hostname" ] then done else throw "There is no activation script `${name}'."
    else
      builtins.foldl' (visit (path ++ [ name ])) done (dependenciesOf scripts.${name}) ++ [ name ];

  snippets = pkgs.runCommand "activation-scripts" { } (
    ''
      mkdir -p "$out"
    ''
    + lib.concatStrings (
      lib.imap1 (number: name: ''
        ln -s ${pkgs.writeText "activation-${name}" (textOf scripts.${name})} "$out/${lib.fixedWidthString 3 "0" (toString number)}-${name}"
      '') ordered
    )
  );

  # Something that no other kind of system has, as its own packages would be.
  own = pkgs.ballast {
    name = "own-${builtins.substring 0 12 (builtins.hashString "sha256" (builtins.toJSON [
      (builtins.attrNames config.systemd.services)
      (map (package: package.name) config.environment.systemPackages)
    ]))}";
    kib = sizes.ownKiB;
  };
  modules = pkgs.ballast { name = "kernel-modules-${kernel.version}"; kib = sizes.kernelKiB; file = "lib/modules/all"; };
  initrd = pkgs.ballast { name = "initrd-${kernel.name}"; kib = sizes.kernelKiB; file = "initrd"; };

  failed = map (assertion: assertion.message) (builtins.filter (assertion: !assertion.assertion) config.assertions);
  checked =
    value:
    if failed != [ ] then
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}"
    else
      builtins.foldl' (result: message: lib.warn message result) value config.warnings;
in
{
  options = {
    system = {
      _free = true;
      stateVersion = mkOption { type = types.str; default = lib.trivial.release; };
      name = mkOption { type = types.str; default = if config.networking.hostName == "" then "unnamed" else config.networking.hostName; };
      nixos.version = mkOption { type = types.str; default = "${lib.trivial.release}.practice"; };
      nixos.label = mkOption { type = types.str; default = config.system.nixos.version; };
      activationScripts = mkOption { type = types.attrsOf types.anything; default = { }; };
      extraDependencies = mkOption { type = types.listOf types.package; default = [ ]; };
    };
    specialisation = mkOption { type = types.attrsOf types.anything; default = { }; };
    boot = {
      _free = true;
      kernelPackages = mkOption { type = types.raw; default = pkgs.linuxPackages; };
      kernelParams = mkOption { type = types.listOf types.str; default = [ ]; };
    };
  };
  config.system.build.toplevel = checked (
    pkgs.runCommand "nixos-system-${config.system.name}-${config.system.nixos.label}"
      {
        inherit kernel initrd own snippets;
        inherit (config.system.build) etc preSwitchChecks installBootLoader switchInhibitors;
        inherit (config.system) path;
        inherit (pkgs) base;
        kernelModules = modules;
        activate = ../programs/activate.sh;
        switch = ../programs/switch-to-configuration.sh;
        version = config.system.nixos.version;
        platform = config.nixpkgs.system;
        hostName = config.networking.hostName;
        initInterface = "systemd ${toString config.systemd.package.interfaceVersion}";
        switchExit = if config.practice.switchExit == 1 then "0" else toString config.practice.switchExit;
        lockBlocks = lib.optionalString config.practice.lockBlocks "yes";
        parameters = toString config.boot.kernelParams;
        extraDependencies = map (path: "${path}") config.system.extraDependencies;
      }
      (''
        mkdir -p "$out/bin" "$out/specialisation"
        for program in activate switch; do
          eval "source=\$$program"
          target="$out/$program"
          [ "$program" = activate ] || target="$out/bin/switch-to-configuration"
          sed "s|@out@|$out|g; s|@hostName@|$hostName|g" "$source" >"$target"
          chmod 755 "$target"
        done
        ln -s "$etc/etc" "$out/etc"
        ln -s "$etc/modes" "$out/etc-modes"
        ln -s "$snippets" "$out/activation-scripts"
        ln -s "$preSwitchChecks" "$out/pre-switch-checks"
        ln -s "$installBootLoader" "$out/install-boot-loader"
        ln -s "$switchInhibitors" "$out/switch-inhibitors"
        [ -z "$lockBlocks" ] || : >"$out/lock-blocks"
        ln -s "$path" "$out/sw"
        ln -s "$own" "$out/own"
        ln -s "$kernel/bzImage" "$out/kernel"
        ln -s "$initrd/initrd" "$out/initrd"
        ln -s "$kernelModules" "$out/kernel-modules"
        printf '%s' "$parameters" >"$out/kernel-params"
        printf '%s' "$version" >"$out/nixos-version"
        printf '%s' "$platform" >"$out/system"
        printf '%s' "$initInterface" >"$out/init-interface-version"
        [ "$switchExit" = 0 ] || printf '%s' "$switchExit" >"$out/switch-exit"
        printf '%s\n' $base $extraDependencies >"$out/extra-dependencies"
        ln -s "$out/activate" "$out/init"
      ''
      + lib.concatStrings (
        lib.mapAttrsToList (name: within: ''
          ln -s ${specialised within.configuration} "$out/specialisation/${name}"
        '') config.specialisation
      ))
  );
}
