"""The lines that mend what `doctor` finds amiss, ready to copy: of NixOS, of the deployment, of ssh, of a shell.

The first of each group is a comment that says where the others go.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from nixhive_nb.deployment.sources.flakes import nix_string

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.plan.examined import WayThere

_SSH_PORT = 22
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")
_IN_SHELL = "# in a shell here"
_OWN_KEYS = "/root/keys/hive.secret"


def in_deployment(*lines: str) -> tuple[str, ...]:
    """Return lines for the deployment."""
    return ("# in the deployment", *lines)


def in_system(system: str, *lines: str) -> tuple[str, ...]:
    """Return lines for the NixOS configuration of a system."""
    return (f"# in the configuration of system {system}", *lines)


def in_shell(*lines: str) -> tuple[str, ...]:
    """Return commands for a shell of this machine."""
    return (_IN_SHELL, *lines)


def of(kind: str, name: str, attribute: str, value: str) -> str:
    """Return a line of the deployment: `instances.www-1.ssh.Port = 22;`."""
    return f"{kind}.{_name(name)}.{attribute} = {value};"


def trusted_key(system: str, key: str) -> tuple[str, ...]:
    """Return what has hosts take what a key has signed."""
    return in_system(system, f"nix.settings.trusted-public-keys = [ {nix_string(key)} ];")


def new_signing_key(system: str) -> tuple[str, ...]:
    """Return what makes a signing key, names it, and has hosts take what it signs."""
    public = _OWN_KEYS.replace(".secret", ".public")
    return (
        *in_shell(f"nix-store --generate-binary-cache-key hive-1 {_OWN_KEYS} {public}"),
        *in_deployment(f'signing.keyFile = "{_OWN_KEYS}";'),
        *in_system(system, f'nix.settings.trusted-public-keys = [ "hive-1:…" ]; # the line in {public}'),
    )


def to_root(instance: str, system: str, user: str, elevate: Sequence[str], said: str) -> tuple[str, ...]:
    """Return what has a login become root without a question, by the words for that and what they said."""
    login = nix_string(user)
    program = elevate[0].rpartition("/")[2] if elevate else ""
    if program == "doas":
        rule = f"{{ users = [ {login} ]; noPass = true; }}"
        return in_system(system, f"security.doas = {{ enable = true; extraRules = [ {rule} ]; }};")
    if program == "run0":
        action = 'action.id == "org.freedesktop.systemd1.manage-units"'
        return in_system(
            system,
            "security.polkit.enable = true;",
            "security.polkit.extraConfig = ''",
            "  polkit.addRule(function(action, subject) {",
            f"    if ({action} && subject.user == {_in_lines(json.dumps(user))}) return polkit.Result.YES;",
            "  });",
            "'';",
        )
    if program == "sudo":
        if re.search(r"\btty\b", said):
            return in_system(system, f"security.sudo.extraConfig = {nix_string(f'Defaults:{user} !requiretty')};")
        rule = f'{{ users = [ {login} ]; commands = [ {{ command = "ALL"; options = [ "NOPASSWD" ]; }} ]; }}'
        return in_system(system, "security.sudo.enable = true;", f"security.sudo.extraRules = [ {rule} ];")
    return in_deployment(of("instances", instance, "elevate", '"sudo"'))


def to_relay(system: str, relay: str, said: str) -> tuple[str, ...]:
    """Return what lets a host reach its relay, by why it does not."""
    host = relay.partition("://")[2].partition("?")[0].rpartition("@")[2].rstrip("/")
    if not relay.startswith(("ssh://", "ssh-ng://")):
        return in_system(system, f"nix.settings.substituters = [ {nix_string(relay)} ]; # is this where it is?")
    if re.search(r"[Hh]ost key|REMOTE HOST IDENTIFICATION", said):
        key = 'publicKey = "ssh-ed25519 AAAA…";'
        return (
            *in_system(system, f"programs.ssh.knownHosts.{nix_string(host)} = {{ {key} }}; # as its host says:"),
            *in_shell(f"nix-hive run {host} 'cat /etc/ssh/ssh_host_ed25519_key.pub'"),
        )
    if "Permission denied (" in said:
        return (
            *in_system(system, "programs.ssh.extraConfig = ''", f"  Host {host}",
                       "    User nix-ssh", "    IdentityFile /root/keys/relay", "'';"),
            "# in the configuration of the relay",
            'nix.sshServe = { enable = true; keys = [ "ssh-ed25519 AAAA…" ]; }; # the public half of /root/keys/relay',
        )  # fmt: skip
    if "Could not resolve" in said:
        return in_system(system, "programs.ssh.extraConfig = ''", f"  Host {host}", "    Hostname 192.0.2.1", "'';")
    return (
        "# in the configuration of the relay: let the host in, by its address or the network's name",
        "services.openssh.enable = true;",
        f"networking.firewall.allowedTCPPorts = [ {_SSH_PORT} ];",
        *in_system(system, "# how root gets there, as it must also with ssh:", "programs.ssh.extraConfig = ''",
                   f"  Host {host}", "    Hostname 192.0.2.1", "'';"),
    )  # fmt: skip


def to_reach(instance: str, system: str, way: WayThere, error: str) -> tuple[str, ...]:
    """Return what would have a host that was not reached be reached, by what was said of it."""
    if way.expired and "login" in error:
        return _renewed(way.expired, way.user)
    for said, lines in _REACHING:
        if found := said.search(error):
            return lines(found, instance, system, way)
    return in_shell(f"nix-hive ssh -v {shlex.quote(instance)} # says what ssh does")


def _host_key(found: re.Match[str], instance: str, _system: str, _way: WayThere) -> tuple[str, ...]:
    return (
        "# in the deployment, if this is what its console says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        of("instances", instance, "hostKeys", f"[ {nix_string(found[1])} ]"),
    )


def _own_config(_found: re.Match[str], instance: str, _system: str, _way: WayThere) -> tuple[str, ...]:
    return in_shell("$EDITOR ~/.ssh/config", f"nix-hive ssh -G {shlex.quote(instance)} # when ssh reads it again")


def _locked(found: re.Match[str], _instance: str, _system: str, _way: WayThere) -> tuple[str, ...]:
    return in_shell(f"ssh-add {found[1]}")


def _no_key(_found: re.Match[str], instance: str, _system: str, _way: WayThere) -> tuple[str, ...]:
    return in_deployment(of("instances", instance, "ssh.IdentityFile", '"/home/me/.ssh/id_ed25519"'))


def _refused(_found: re.Match[str], instance: str, system: str, way: WayThere) -> tuple[str, ...]:
    public = way.public_key or "ssh-ed25519 AAAA…"
    keys = f"openssh.authorizedKeys.keys = [ {nix_string(public)} ]"
    return (
        *in_system(system, f"users.users.{_name(way.user)}.{keys};"),
        "# or, where another user may log in: in the deployment",
        of("instances", instance, "ssh.User", '"root"'),
    )


def _no_address(_found: re.Match[str], instance: str, _system: str, _way: WayThere) -> tuple[str, ...]:
    return in_deployment(of("instances", instance, "ssh.Hostname", '"192.0.2.1"'))


def _files(_found: re.Match[str], _instance: str, _system: str, _way: WayThere) -> tuple[str, ...]:
    return in_shell("ulimit -n 8192")


def _algorithms(_found: re.Match[str], instance: str, _system: str, _way: WayThere) -> tuple[str, ...]:
    return in_deployment(of("instances", instance, "carrier", '"openssh"'))


def _shell(_found: re.Match[str], _instance: str, system: str, way: WayThere) -> tuple[str, ...]:
    return in_system(system, f"users.users.{_name(way.user)}.shell = pkgs.bashInteractive; # and no forced command")


def _jump(found: re.Match[str], _instance: str, _system: str, _way: WayThere) -> tuple[str, ...]:
    return in_shell(f"nix-hive doctor {shlex.quote(found[1])} # the way to others leads through it")


def _network(_found: re.Match[str], instance: str, system: str, way: WayThere) -> tuple[str, ...]:
    port = way.port or _SSH_PORT
    ports = [] if port == _SSH_PORT else [f"services.openssh.ports = [ {port} ];"]
    address = [of("instances", instance, "ssh.Hostname", nix_string(way.address))] if way.address else []
    return (
        *in_system(system, "services.openssh = { enable = true; openFirewall = true; };", *ports),
        *(("# and, if that is not its address: in the deployment", *address) if address else ()),
    )


_REACHING = tuple(
    (re.compile(said), lines)
    for said, lines in (
        (r'host key.*"((?:ssh|ecdsa|sk)-[^\s"]+ [A-Za-z0-9+/=]+)"', _host_key),
        ("ssh cannot read its configuration|reached through itself", _own_config),
        (r"behind a jump host that cannot be used: ([\w.-]+)", _jump),
        (r"(\S+) has a passphrase", _locked),
        ("no key to try", _no_key),
        ("login of user", _refused),
        ("no address for the name", _no_address),
        ("[Tt]oo many open files", _files),
        ("algorithm", _algorithms),
        ("runs something else|its login|was asked and said|nologin", _shell),
        ("refuses the connection|did not answer|cannot be (?:reached|used)|hung up|given up", _network),
    )
)
"""By what was said: the first that fits."""


def _in_lines(text: str) -> str:
    """Return a text as it stands in a string of several lines of Nix."""
    return text.replace("''", "'''").replace("${", "''${")


def _name(user: str) -> str:
    return user if _PLAIN_NAME.fullmatch(user) else nix_string(user)


def _renewed(expired: Sequence[tuple[str, str]], user: str) -> tuple[str, ...]:
    told = []
    for file, until in expired:
        key = shlex.quote(f"{file.removesuffix('-cert.pub')}.pub")
        name = shlex.quote(user)
        told += [f"# {file} was valid until {until}", f"ssh-keygen -s CA_KEY -I {name} -n {name} -V +1d {key}"]
    return in_shell(*told)
