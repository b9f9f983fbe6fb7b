"""Real ssh servers for these tests."""

from tests.sshd import site, ssh_keys

__all__ = ["site", "ssh_keys"]
