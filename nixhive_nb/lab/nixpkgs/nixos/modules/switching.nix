# What a switch does before it changes anything, and the boot loader.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  checks = config.system.preSwitchChecks;
in
{
  options = {
    system = {
      _free = true;
      # Shell scripts by name; $1 is the system, $NIXOS_ACTION the word.
      preSwitchChecks = mkOption { type = types.attrsOf types.str; default = { }; };
      # What a running system must not change: where both systems have a name, its values have to be the same.
      switch.inhibitors = mkOption { type = types.attrsOf types.str; default = { }; };
    };
    # In the stand-in alone.
    practice = {
      # The status that `switch-to-configuration switch` and `test` end with, after all else is done. With 1 they refuse
      # before anything is changed.
      switchExit = mkOption { type = types.int; default = 0; };
      # The status of the boot loader's installer, which then has changed nothing.
      bootLoaderExit = mkOption { type = types.int; default = 0; };
      # Whether it waits for the lock, as older ones do.
      lockBlocks = mkOption { type = types.bool; default = false; };
    };
  };
  config.system = {
    preSwitchChecks = {
      switchInhibitors = ''
        [ "$NIXOS_ACTION" != boot ] || exit 0
        printf 'Checking switch inhibitors...'
        pairs() { [ ! -e "$1/switch-inhibitors" ] || tr '{},' '\n\n\n' <"$1/switch-inhibitors" | sed -n 's/^"\(.*\)":"\(.*\)"$/\1 \2/p'; }
        differ=$(pairs /run/current-system | while read -r name value; do
          wanted=$(pairs "$1" | sed -n "s/^$name //p")
          [ -z "$wanted" ] || [ "$wanted" = "$value" ] || echo "$name : $value -> $wanted"
        done)
        if [ -z "$differ" ]; then
          echo ' done'
          exit 0
        fi
        printf '\nThere are changes to critical components of the system:\n\n%s\n\n' "$differ"
        printf "Switching into this system is not recommended.\nYou probably want to run 'nixos-rebuild boot' and reboot"
        printf ' your system instead.\n\n'
        exit 1
      '';
    }
    // lib.optionalAttrs (config.practice.switchExit == 1) {
      practice = ''[ "$NIXOS_ACTION" = boot ]'';
    };
    build = {
      preSwitchChecks = pkgs.writeShellScript "pre-switch-checks" (
        "exec >&2\n"
        + lib.concatStrings (
          lib.mapAttrsToList (name: script: ''
            (
              ${script}
            ) || { echo "Pre-switch check '${name}' failed"; exit 1; }
          '') checks
        )
      );
      installBootLoader = pkgs.writeShellScript "install-boot-loader" ''
        echo "updating the boot loader..." >&2
        ${lib.optionalString (config.practice.bootLoaderExit != 0) "exit ${toString config.practice.bootLoaderExit}"}
        loader=/boot/extlinux
        entry() { printf 'LABEL %s\n  MENU LABEL NixOS\n  APPEND init=%s/init\n' "$1" "$2"; }
        { [ -d "$loader" ] || mkdir -p "$loader"; } && { printf 'DEFAULT nixos-default\n'; entry nixos-default "$1"; } >"$loader/new" &&
          sync "$loader/new" && mv "$loader/new" "$loader/extlinux.conf"
      '';
      switchInhibitors = pkgs.writeText "switch-inhibitors" (builtins.toJSON config.system.switch.inhibitors);
    };
  };
}
