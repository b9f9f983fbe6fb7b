"""Which of the tests of programs also try a library of ours: `make test-lowest` runs those, and leaves the others out.

Nix, OpenSSH and shells have no floor in pyproject.toml. A real server that Fabric logs in to tries Fabric and paramiko.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before it is chosen by markers
def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if logs_in_by_fabric(item):
            item.add_marker("fabric")


def logs_in_by_fabric(item) -> bool:
    """Whether a test has real servers of SSH, and not only by way of OpenSSH."""
    carrier = item.callspec.params.get("carrier", "auto") if hasattr(item, "callspec") else "auto"
    return "site" in item.fixturenames and carrier != "openssh"
