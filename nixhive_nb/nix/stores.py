"""Where the URL of a store leads to."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

_SSH_SCHEMES = ("ssh", "ssh-ng")
_ELSEWHERE = ("remote-store", "remote-program", "root", "state", "store", "real")
"""Parameters of a store's URL by which it is not the store that `nix-store` has on that host."""


class SshStore(msgspec.Struct, frozen=True, kw_only=True):
    """Where an `ssh://` or `ssh-ng://` store is."""

    host: str
    user: str | None = None
    port: int | None = None
    is_elsewhere: bool = False
    """Whether the URL leads on to another store than that of the host's own Nix."""

    def argv(self, config: str, command: str) -> list[str]:
        """Return the OpenSSH command that runs `command` there."""
        user = ["-l", self.user] if self.user else []
        port = ["-p", str(self.port)] if self.port else []
        return ["ssh", "-F", config, *user, *port, "--", self.host, command]


def ssh_store(url: str) -> SshStore | None:
    """Return where a store URL leads to by ssh, None for a store of another kind."""
    parts = urlsplit(url)
    if parts.scheme not in _SSH_SCHEMES or not parts.hostname:
        return None
    # `urlsplit` gives host names in lower case; ssh's names of hosts are told apart by case.
    authority = parts.netloc.rpartition("@")[2]
    host = authority[1 : authority.index("]")] if authority.startswith("[") else authority.partition(":")[0]
    return SshStore(
        host=host,
        user=unquote(parts.username) if parts.username else None,
        port=parts.port,
        is_elsewhere=any(name in _ELSEWHERE for name, _ in parse_qsl(parts.query, keep_blank_values=True)),
    )


def store_for_nix(url: str) -> tuple[str, str]:
    """Return a store's URL for `nix copy`, and the words for ssh that go with it.

    It is passed as written, but for the port of an ssh store: Nix 2.8 takes it for a part of the host's name.
    """
    where = ssh_store(url)
    if where is None or where.port is None:
        return url, ""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.removesuffix(f":{where.port}")).geturl(), f"-p {where.port}"
