"""An address of the link alone, which has a zone: in ssh's configuration its percent sign is written twice."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from nixhive_nb.deployment.ways import hostname_of

pytestmark = [pytest.mark.nix]
ADDRESS = "fe80::77"


@pytest.fixture
def port():
    """An address of the link on the loopback interface of this namespace, and a port that is free there."""
    if "NIXHIVE_APART" not in os.environ:
        pytest.skip("needs a network of its own (tools/apart)")
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/64", "dev", "lo", "nodad"], check=True)
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind((ADDRESS, 0, 0, socket.if_nametoindex("lo")))
        number = probe.getsockname()[1]
    yield number
    subprocess.run(["ip", "address", "delete", f"{ADDRESS}/64", "dev", "lo"], check=True)


@pytest.mark.parametrize("carrier", ["fabric", "openssh"])
def test_it_is_reached_directly_and_through_a_jump_host(site, port, carrier):
    site.carrier = carrier
    server = site.sshd(extra=f"ListenAddress [{ADDRESS}%lo]:{port}")
    there = {"Hostname": hostname_of(f"{ADDRESS}%lo"), "Port": port}
    gate = site.instance("gate", server)
    connections = site.connect(
        gate, site.instance("web", server, **there), site.instance("behind", server, ProxyJump="gate", **there)
    )
    for name in ("web", "behind"):
        said = connections.run(name, "echo $SSH_CONNECTION")
        assert said.stdout.split()[2].partition("%")[0] == ADDRESS, name
