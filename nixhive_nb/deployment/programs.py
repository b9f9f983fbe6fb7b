"""What a deployment has this machine start by itself, as the user: words of ssh and of Nix that name a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nixhive_nb.deployment.inventory import Inventory

_SSH = frozenset({
    *("proxycommand", "localcommand", "knownhostscommand", "xauthlocation"),
    *("pkcs11provider", "securitykeyprovider"),  # libraries, which are loaded
    "include",  # a file that may say any of these
})  # fmt: skip
_NIX = frozenset({"post-build-hook", "pre-build-hook", "build-hook", "diff-hook", "plugin-files"})


def programs_of(inventory: Inventory) -> dict[str, str]:
    """Return what is started here when hosts are reached or systems built: the value by where it stands.

    Remote builders are not in it: Nix reaches them by ssh, and starts nothing else.
    """
    found = {}
    for instance in inventory.instances.values():
        for name, values in instance.ssh:
            said = " ".join(values)
            if name.lower() in _SSH and said.lower() != "none":
                found[f"ssh.{name} of instance {instance.name}"] = said
    flags = " ".join(inventory.build_flags)
    if any(flag.removeprefix("--").removeprefix("extra-").split("=")[0].strip() in _NIX for flag in flags.split()):
        found["nix.build.flags"] = flags
    return found
