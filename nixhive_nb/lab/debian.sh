#!/usr/bin/env bash
# Make a folder with a Debian in it, for hosts that have a system of their own. It is made with debootstrap and apt, by
# the ways of this machine's apt. (Root only. It mounts in the folder: run it in a mount namespace of its own.)
#
# usage: debian.sh SUITE FOLDER PACKAGE…
set -euo pipefail
certificates=/etc/ssl/certs/ca-certificates.crt

quietly() { # its output is shown only when it fails
  local output status=0
  output=$("$@" 2>&1) || status=$?
  [ "$status" = 0 ] || { printf '%s\n' "$output" | tail -n 30 >&2; return "$status"; }
}

build_root() { # suite, folder, packages
  local suite=$1 root=$2 settings file script=/usr/share/debootstrap/scripts/$1
  shift 2
  [ -e "$script" ] || script=${script%/*}/sid # newer than this machine's debootstrap
  settings=$(apt_settings)
  if [ -z "${http_proxy:-}" ]; then # debootstrap knows nothing of apt's settings
    http_proxy=$(sed -n 's/^Acquire::http::Proxy "\(.*\)";$/\1/p' <<<"$settings")
    [ -z "$http_proxy" ] || export http_proxy
  fi
  quietly debootstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    "$suite" "$root" "$(mirror)" "$script"
  mount -t proc proc "$root/proc"
  for file in resolv.conf hosts; do # only for now: they are this machine's
    touch "$root/etc/$file"
    [ ! -e "/etc/$file" ] || mount --bind "/etc/$file" "$root/etc/$file"
  done
  trust_as_we_do "$root"
  printf '%s\n' "$settings" >"$root/etc/apt/apt.conf.d/00machine"
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io" # a root that is half made is made anew
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # nothing is started here
  chmod 755 "$root/usr/sbin/policy-rc.d"
  export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
  quietly chroot "$root" apt-get update -qq
  quietly chroot "$root" apt-get install -y -qq --no-install-recommends "$@"
  quietly chroot "$root" apt-get clean
  rm -rf "$root"/var/lib/apt/lists/* "$root/etc/apt/apt.conf.d/00machine" "$root/usr/sbin/policy-rc.d"
}

# Where this machine's apt gets its Debian from, and how: proxies, certificates, what it does not check.
mirror() {
  local found=''
  if [ -e /etc/debian_version ]; then
    # shellcheck disable=SC2016 # the names are apt's
    found=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
      awk -v release="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" \
        '$1 == release && $2 == "main" && $3 ~ "^https?://.*debian" && !done++ { print $3 }')
  fi
  echo "${found:-http://deb.debian.org/debian}"
}
apt_settings() {
  apt-config dump | grep -E '^Acquire::([a-z]+::(Proxy|Verify|Ca|SslCert|SslKey|Timeout)|Retries|Check|AllowInsecure)' || true
}
trust_as_we_do() { # root
  local bundle=${SSL_CERT_FILE:-$certificates}
  [ ! -e "$bundle" ] || install -D -m 644 "$bundle" "$1$certificates"
}

[ "${BASH_SOURCE[0]}" != "$0" ] || build_root "$@"
