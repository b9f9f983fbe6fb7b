"""The files of a host: one template for the whole fleet, copied and completed for each host."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from nixhive_nb.lab.commands import SYSTEM_PATH, run
from nixhive_nb.lab.model import GATEWAY, HostSpec
from nixhive_nb.lab.signing import user_keys

# What a host's own programs need of the machine's /etc; missing ones are left out.
_FROM_THE_MACHINE = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "login.defs",
    "os-release",
    "protocols",
    "security",
    "services",
    "ssl/openssl.cnf",
)

_HOST_PATH = f"/run/current-system/sw/bin:{SYSTEM_PATH}"

# What a light host has of its own, and one with systemd has from its Debian.
_ETC_OF_LIGHT = {
    "group": "root:x:0:\ntty:x:5:\nsudo:x:27:\nusers:x:100:\nnogroup:x:65534:\n",
    "gshadow": "",
    "nsswitch.conf": "accounts: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n",
    "passwd": (
        "root:x:0:0:root:/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "shadow": "root:*:19000:0:99999:7:::\n",
    "shells": "/bin/sh\n",
}

_ETC = {
    "profile": f"PATH={_HOST_PATH}\nexport PATH\n",
    "resolv.conf": "",
    "NIXOS": "",
}

# sudo asks PAM even when it needs no password. Without a password in /etc/shadow, pam_unix refuses everybody else.
_PAM = """\
auth required pam_unix.so
account required pam_unix.so
password required pam_deny.so
session required pam_permit.so
"""
_PAM_SERVICES = ("other", "sudo", "sudo-i", "su", "su-l", "sshd", "login")

_OWN_PROGRAMS = {"reboot": "reboot.sh", "practice-stage-2": "stage2.sh"}
"""What a host has in /usr/local/sbin, by name: our scripts."""

_NOT_AT_A_BOOT = (
    # Nobody asks for passwords there, and watching for that fails where the machine has no watch left.
    "usr/lib/systemd/system/*.wants/systemd-ask-password-*.path",
    # What a container has no disks, consoles, kernel modules or users for: two fifths of what a boot takes.
    "usr/lib/systemd/system-generators/*",
    "usr/lib/systemd/system/*.wants/dev-*.mount",
    "usr/lib/systemd/system/*.wants/sys-*.mount",
    "usr/lib/systemd/system/*.wants/systemd-tmpfiles-setup-dev*.service",
    "usr/lib/systemd/system/*.wants/systemd-update-utmp*.service",
    # Programs that a login has run for it, for a message that no terminal shows.
    "etc/update-motd.d/*",
)
"""What a host with systemd leaves out of its Debian."""

_VAR = ("cache", "empty", "lib/sudo", "log", "spool", "tmp")


class Keys(msgspec.Struct, frozen=True):
    """Where the fleet's keys are."""

    folder: Path

    @property
    def identity(self) -> Path:
        """The operator's private key."""
        return self.folder / "operator"

    @property
    def relay(self) -> Path:
        """The private key with which hosts read from the stores of relays."""
        return self.folder / "relay"

    @property
    def signing(self) -> Path:
        """The secret key that signs store paths."""
        return self.folder / "signing.secret"

    @property
    def public(self) -> Path:
        """The public half of the signing key."""
        return self.folder / "signing.public"


class Site(msgspec.Struct, frozen=True):
    """What every host has to know of the fleet: its keys, and of each host the inner address."""

    keys: Keys
    addresses: dict[str, str]
    relays: frozenset[str]
    """The hosts whose stores others read from."""


def make_keys(keys: Keys, store: Path, token: str) -> None:
    """Make the fleet's keys, and with them an empty Nix store for the template."""
    keys.folder.mkdir(mode=0o700)
    for path in (keys.identity, keys.relay):
        make_ssh_key(path, f"nixhive-lab-{token}-{path.name}")
    # nix-store opens a store whatever it does: let it be the template's, never the machine's.
    settings = "build-users-group =\ngc-reserved-space = 0\n"
    nix = {"NIX_REMOTE": str(store), "HOME": "/nonexistent", "NIX_CONFIG": settings}
    run(["nix-store", "--init"], env=nix)
    # Each fleet has a copy: it stays whole when the user's own key goes.
    for source, copy in zip(user_keys(nix), (keys.signing, keys.public), strict=True):
        shutil.copyfile(source, copy)
        copy.chmod(source.stat().st_mode & 0o777)


def make_ssh_key(path: Path, comment: str) -> None:
    """Make a key pair without a passphrase, in the files that ssh-keygen would make, which is a program for each."""
    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    _file(path.with_name(f"{path.name}.pub"), f"{public} {comment}\n")


def make_template(template: Path) -> None:
    """Make what is the same on every host. The Nix store is in it already."""
    etc = template / "etc"
    _folder(etc)
    for name in _FROM_THE_MACHINE:
        _copy_from_machine(name, etc)
    for name, text in (_ETC | _ETC_OF_LIGHT).items():
        _file(etc / name, text)
    for service in _PAM_SERVICES:
        _file(etc / "pam.d" / service, _PAM)
    # `alternatives` are many hundred links, which a host only reads: it gets the machine's own folder laid over this.
    for name in ("alternatives", "nix", "ssh"):
        _folder(etc / name)
    (etc / "mtab").symlink_to("/proc/mounts")
    _folder(template / "root", 0o700)
    _folder(template / "root" / ".ssh", 0o700)
    _folder(template / "home")
    _folder(template / "boot")
    for name in _OWN_PROGRAMS:
        _file(template / "sbin" / name, _own_program(name), 0o755)
    for name in _VAR:
        _folder(template / "var" / name)
    (template / "var" / "run").symlink_to("/run")
    (template / "var" / "lock").symlink_to("/run/lock")
    _folder(template / "nix" / "var" / "nix" / "profiles")


def _copy_from_machine(name: str, etc: Path) -> None:
    source, target = Path("/etc") / name, etc / name
    if not source.exists():
        return
    _folder(target.parent)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


def make_host(template: Path, root: Path, spec: HostSpec, site: Site) -> None:
    """Make the files of one host. Its host key pair is there already, beside its folder: see `host_key_path`.

    The root of a host with systemd has its Debian in it.
    """
    _folder(root)
    if spec.init == "light":
        run(["cp", "-a", *(f"{template}/{part}" for part in ("boot", "etc", "root", "home", "var", "sbin")), str(root)])
    else:
        _complete_debian(root)
    # The store is a file system of its own where the disk is small: copy into it, not over it.
    _folder(root / "nix")
    run(["cp", "-a", f"{template}/nix/.", str(root / "nix")])
    _write_accounts(root, spec, site)
    _write_etc(root, spec, site)
    if spec.name != GATEWAY:
        _write_relay_access(root, spec.relay, site)


def _complete_debian(root: Path) -> None:
    """Make of a Debian what a light host is by its template."""
    etc = root / "etc"
    for name, text in _ETC.items():
        _file(etc / name, text)
    # Without one of its own, systemd would take each boot for the first.
    _file(etc / "machine-id", f"{secrets.token_hex(16)}\n", 0o444)
    _folder(root / "root" / ".ssh", 0o700)
    for pattern in _NOT_AT_A_BOOT:
        for file in root.glob(pattern):
            file.unlink()
    stage_2 = "practice-stage-2"
    _file(root / "usr" / "local" / "sbin" / stage_2, _own_program(stage_2), 0o755)


def _own_program(name: str) -> str:
    return Path(__file__).with_name(_OWN_PROGRAMS[name]).read_text()


def host_key_path(keys: Keys, name: str) -> Path:
    """Where a host's private key is kept; it is made before the host."""
    return keys.folder / "hosts" / name


def public_key_line(path: Path) -> str:
    """Return a public key without its comment."""
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def _write_accounts(root: Path, spec: HostSpec, site: Site) -> None:
    etc = root / "etc"
    accounts, shadow = (etc / "passwd").read_text(), (etc / "shadow").read_text()
    sudoers = f'Defaults secure_path="{_HOST_PATH}"\nroot ALL=(ALL:ALL) ALL\n'
    if spec.user != "root":
        accounts += f"{spec.user}:x:1000:100:{spec.user}:/home/{spec.user}:/bin/sh\n"
        shadow += f"{spec.user}:*:19000:0:99999:7:::\n"
        if spec.sudo:
            sudoers += f"{spec.user} ALL=(ALL:ALL) NOPASSWD: ALL\n"
        _make_home(root / "home" / spec.user)
    _file(etc / "passwd", accounts)
    _file(etc / "shadow", shadow, 0o600)
    _file(etc / "sudoers", sudoers, 0o440)
    operator = site.keys.identity.with_suffix(".pub").read_text()
    keys_of = dict.fromkeys(("root", spec.user), "")
    keys_of[spec.user] += operator
    if spec.name in site.relays:
        relay = site.keys.relay.with_suffix(".pub").read_text()
        keys_of["root"] += f'restrict,command="nix-store --serve" {relay}'
    for user, text in keys_of.items():
        home = root / "root" if user == "root" else root / "home" / user
        _file(home / ".ssh" / "authorized_keys", text, 0o600)
        if user != "root":
            os.chown(home / ".ssh" / "authorized_keys", 1000, 100)


def _make_home(home: Path) -> None:
    for folder in (home, home / ".ssh"):
        _folder(folder, 0o700)
        os.chown(folder, 1000, 100)


def _write_etc(root: Path, spec: HostSpec, site: Site) -> None:
    etc = root / "etc"
    _file(etc / "hostname", f"{spec.name}\n")
    names = "".join(f"{address} {name}\n" for name, address in site.addresses.items() if name != spec.name)
    _file(etc / "hosts", f"127.0.0.1 localhost\n127.0.1.1 {spec.name}\n{names}")
    _file(etc / "nix" / "nix.conf", _nix_conf(spec, site))
    _file(etc / "ssh" / "sshd_config", _sshd_config(spec))
    key = host_key_path(site.keys, spec.name)
    for source in (key, key.with_name(key.name + ".pub")):
        shutil.copy2(source, etc / "ssh" / source.name.replace(spec.name, "ssh_host_ed25519_key"))


def _nix_conf(spec: HostSpec, site: Site) -> str:
    trusted = " ".join(dict.fromkeys(("root", spec.user)))
    relay = "" if spec.name == GATEWAY else f"ssh://{spec.relay}"
    return "\n".join(
        (
            "sandbox = false",
            "build-users-group =",
            "require-sigs = true",
            f"trusted-public-keys = {site.keys.public.read_text().strip()}",
            f"substituters = {relay}",
            f"trusted-users = {trusted}",
            "connect-timeout = 5",
            "experimental-features = nix-command",
            # Nix would set 8 MB aside in each store, which is all that a small disk has.
            "gc-reserved-space = 0",
            # No practice host loses what is not on a disk yet, and to wait for that is a tenth of what it costs.
            "fsync-metadata = false",
            "",
        )
    )


def _sshd_config(spec: HostSpec) -> str:
    """How sshd is set up: by key only, and its limits on logins as they come."""
    # A session of systemd's comes from PAM, which a light host has no need of.
    pam = "no" if spec.init == "light" else "yes"
    # A user other than root may not open the store's database: its Nix programs ask the daemon.
    remote = "" if spec.user == "root" else " NIX_REMOTE=daemon"
    return "\n".join(
        (
            "HostKey /etc/ssh/ssh_host_ed25519_key",
            "PidFile /var/lib/sshd.pid",
            f"UsePAM {pam}",
            "UseDNS no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "AuthorizedKeysFile .ssh/authorized_keys",
            f"SetEnv PATH={_HOST_PATH}{remote}",
            "Subsystem sftp internal-sftp",
            # Keys against computers to come by sntrup take OpenSSH 9.2 85 ms of a processor a login, as measured, and
            # those that it computes with code of its own 3 ms more at each end than the next ones. A fleet has this
            # machine's alone, and nobody listens here. From 10.1 on it warns of a server that has none against them:
            # there is mlkem by then, which takes 7 ms a login.
            "KexAlgorithms -sntrup*,curve25519*",
            "",
        )
    )


def _write_relay_access(root: Path, relay: str, site: Site) -> None:
    folder, address = root / "root" / ".ssh", site.addresses[relay]
    shutil.copy2(site.keys.relay, folder / "relay")
    lines = (
        f"Host {relay}",
        f"  Hostname {address}",
        "  User root",
        "  IdentityFile /root/.ssh/relay",
        "  IdentitiesOnly yes",
        "  BatchMode yes",
        "  ConnectTimeout 5",
        "  StrictHostKeyChecking yes",
        "",
    )
    _file(folder / "config", "\n".join(lines), 0o600)
    _file(folder / "known_hosts", f"{relay},{address} {public_key_line(host_key_path(site.keys, relay))}\n", 0o600)


def _folder(path: Path, mode: int = 0o755) -> None:
    """Make a folder of exactly this mode, whatever the umask of the notebook or the shell that we run in."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)


def _file(path: Path, text: str, mode: int = 0o644) -> None:
    if not path.parent.exists():
        _folder(path.parent)
    path.write_text(text)
    path.chmod(mode)
