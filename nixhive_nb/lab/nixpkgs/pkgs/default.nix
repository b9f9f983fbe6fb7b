# A handful of packages. Their programs only tell their own name: a practice host has the machine's programs.
{
  system,
  overlays ? [ ],
  config ? { },
}:
let
  lib = import ../lib;
  sizes = import ../sizes.nix;
  builders = import ./builders.nix { inherit lib system; };

  tool =
    name:
    builders.derive {
      inherit name;
      pname = name;
      version = "1.0";
      meta.mainProgram = name;
      script = ''
        mkdir -p "$out/bin"
        printf '#!/bin/sh\necho "%s, of the practice fleet"\n' ${name} >"$out/bin/${name}"
        chmod 755 "$out/bin/${name}"
      '';
    };

  kernelPackages = version: {
    kernel = builders.ballast {
      name = "linux-${version}";
      file = "bzImage";
      kib = sizes.kernelKiB;
    } // { inherit version; };
  };

  tools = [
    "bind" "btop" "busybox" "coreutils" "curl" "dig" "dnsutils" "emacs" "ethtool" "fd" "file" "gawk" "git" "gnugrep"
    "gnused" "gnutar" "haproxy" "hello" "htop" "iftop" "iotop" "iperf3" "iproute2" "jq" "lsof" "minio" "minio-client"
    "mtr" "nano" "ncdu" "neovim" "netcat" "nfs-utils" "nginx" "nix" "openssh" "openssl" "parted" "postgresql" "python3"
    "redis" "ripgrep" "rsync" "screen" "socat" "strace" "sudo" "sysstat" "tcpdump" "tmux" "traceroute" "tree" "unzip"
    "util-linux" "vim" "wget" "zip"
  ];

  # Each overlay sees the packages as they are in the end, and as they were before it.
  overlaid = builtins.foldl' (before: overlay: before // overlay overlaid before) packages overlays;
  packages = lib.genAttrs tools tool // builtins.removeAttrs builders [ "derive" ] // others;
  others = {
    inherit lib system overlays config;
    path = ../.;
    # A system with another number than the running one's can only be booted.
    systemd = tool "systemd" // { interfaceVersion = 2; };
    linuxPackages = kernelPackages "6.6.1";
    linuxPackages_6_6 = kernelPackages "6.6.1";
    linuxPackages_latest = kernelPackages "6.12.1";
    stdenv = {
      inherit system;
      hostPlatform = { inherit system; };
    };
    base = import ./base.nix { inherit lib sizes builders; };
  };
in
overlaid
