"""Real ssh servers for these tests."""

from tests.sshd import carrier, pytest_generate_tests, site, ssh_keys

__all__ = ["carrier", "pytest_generate_tests", "site", "ssh_keys"]
