"""What a host has of a system: asked of a real Nix store over a real sshd."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess

import pytest

from nixhive_nb.errors import NixError
from nixhive_nb.hosts.closures import closure_sizes, kernel_of, lacking, local_closure_sizes, reboot_wanted
from nixhive_nb.plan.facts import HostFacts
from nixhive_nb.ssh.fabric_links import FabricLinks
from tests.links import Links
from tests.sshd import BOTH

pytestmark = [
    pytest.mark.nix,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("nix-store") is None, reason="needs Nix"),
]
CARRIERS = BOTH

CLOSURE = """
let a = builtins.toFile "measured-a" "alone"; b = builtins.toFile "measured-b" "${a} ${a}";
in [ a b (builtins.toFile "measured-c" "${b} and ${a}") ]
"""


@pytest.fixture(scope="module")
def stored():
    """Three paths of the store; each needs those before it."""
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "-E", CLOSURE]
    return json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)


@pytest.fixture
def lines(site):
    return FabricLinks(site.connect(site.instance("web", site.sshd())))


def absent(number):
    return f"/nix/store/{'0' * 27}{number:05}-{'absent-' * 10}"


def test_the_closure_of_a_path_on_a_host_comes_with_its_sizes(lines, stored):
    sizes = asyncio.run(closure_sizes(lines, "web", stored[2]))
    argv = ["nix-store", "--query", "--size", *stored]
    told = subprocess.run(argv, capture_output=True, check=True).stdout.split()
    assert sizes == dict(zip(stored, map(int, told), strict=True))
    assert len(set(sizes.values())) == 3


def test_a_closure_that_a_host_has_not_is_an_error_with_its_words(lines):
    with pytest.raises(NixError, match=r"^web: its Nix store cannot be asked \(exit status 1\): .*is not valid"):
        asyncio.run(closure_sizes(lines, "web", absent(1)))


def test_a_closure_that_is_here_has_the_same_sizes(lines, stored):
    assert local_closure_sizes(stored[2]) == asyncio.run(closure_sizes(lines, "web", stored[2]))
    with pytest.raises(NixError, match="is not valid"):
        local_closure_sizes(absent(1))


def test_only_what_a_host_lacks_is_counted(lines, stored):
    sizes = {stored[0]: 1, absent(1): 20, stored[1]: 300, absent(2): 4000}
    assert asyncio.run(lacking(lines, "web", sizes)) == 4020
    assert asyncio.run(lacking(lines, "web", dict.fromkeys(stored, 7))) == 0


def test_more_paths_than_a_command_may_have_are_asked_for_in_parts(lines, stored):
    commands = []

    async def ask(instance, command, *, seconds):
        commands.append(command)
        return await lines.kept(instance).run(command, seconds=seconds)

    sizes = {absent(number): 1 for number in range(3000)} | {stored[0]: 10_000}
    assert asyncio.run(lacking(Links(ask), "web", sizes)) == 3000
    assert len(commands) > 1
    assert max(map(len, commands)) < 128 * 1024 - 1000


def test_nothing_is_asked_for_no_paths():
    async def ask(*_, **__):
        raise AssertionError

    assert asyncio.run(lacking(Links(ask), "web", {})) == 0


def test_a_host_without_nix_is_an_error(site, stored):
    lines = FabricLinks(site.connect(site.instance("web", site.sshd(extra="SetEnv PATH=/nowhere"))))
    with pytest.raises(NixError, match="exit status 127"):
        asyncio.run(lacking(lines, "web", {stored[0]: 1}))


# Kernels


@pytest.fixture
def system(tmp_path):
    """A system with a kernel and modules, and no initrd."""
    for name in ("linux/bzImage", "modules/lib"):
        (tmp_path / name).mkdir(parents=True)
    made = tmp_path / "system"
    made.mkdir()
    (made / "kernel").symlink_to(tmp_path / "linux" / "bzImage")
    (made / "kernel-modules").symlink_to(tmp_path / "modules")
    return made


def test_the_kernel_of_a_system_is_resolved(system, tmp_path):
    files = (str(tmp_path / "linux" / "bzImage"), "", str(tmp_path / "modules"))
    assert kernel_of(str(system)) == (*files, "")
    (system / "kernel-params").write_text("quiet")
    assert kernel_of(str(system)) == (*files, hashlib.sha256(b"quiet").hexdigest()[:32])


def test_a_system_that_is_not_here_or_has_no_kernel_has_none(system):
    assert kernel_of(absent(1)) == ()
    (system / "kernel").unlink()
    assert kernel_of(str(system)) == ()


@pytest.mark.parametrize(
    ("kernel", "booted", "wanted"),
    [
        (("k", "i", "m"), ("k", "i", "m"), False),
        (("k", "i2", "m"), ("k", "i", "m"), True),
        ((), ("k", "i", "m"), None),
        (("k", "i", "m"), (), None),
        ((), (), None),
        (("k", "i", "m", "p"), ("k", "i", "m", "p"), False),
        (("k", "i", "m", "p"), ("k", "i", "m", "q"), True),
        (("k", "i", "m", "p"), ("k", "i", "m", ""), False),
        (("k", "i", "m", "p"), ("k", "i", "m"), False),
    ],
)
def test_a_reboot_is_wanted_where_the_kernel_is_not_the_booted_one(kernel, booted, wanted):
    assert reboot_wanted(kernel, HostFacts(booted_kernel=booted)) is wanted
