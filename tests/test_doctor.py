"""What `doctor` tells of this machine, and what it keeps to itself."""

from __future__ import annotations

import shutil
import subprocess

import msgspec
import pytest

from nixhive_nb.doctor import _boot_needs, _is_askable, _signing_key
from nixhive_nb.hosts.closures import kernel_of
from nixhive_nb.plan.facts import HostFacts


@pytest.mark.nix
@pytest.mark.skipif(not shutil.which("nix-store"), reason="needs Nix")
def test_the_public_half_of_a_signing_key_is_that_of_nix(tmp_path):
    secret, public = tmp_path / "secret", tmp_path / "public"
    argv = ["nix-store", "--generate-binary-cache-key", "hive-1", secret, public]
    subprocess.run(argv, check=True, capture_output=True)
    assert _signing_key(str(secret)) == (public.read_text().strip(), "")


@pytest.mark.parametrize("text", ["", "hive-1:", "hive-1:AAAA", "no key", ":" + "A" * 88, "é"])
def test_what_is_no_signing_key_is_told_without_what_it_holds(tmp_path, text):
    (tmp_path / "secret").write_text(text, encoding="utf-8")
    assert _signing_key(str(tmp_path / "secret")) == (
        "",
        f"signing.keyFile names {tmp_path}/secret, which holds no secret key of Nix.",
    )
    assert _signing_key(str(tmp_path / "none"))[1].endswith("which cannot be read: No such file or directory.")


@pytest.mark.parametrize(
    ("store", "is_asked"),
    [
        ("ssh://portico", True),
        ("https://cache.example.org", True),
        ("https://me:word@cache.example.org", False),
        ("file:///srv/cache", False),
        ("", False),
    ],
)
def test_a_store_whose_url_has_a_password_is_told_to_no_host(store, is_asked):
    assert _is_askable(store) is is_asked


def test_what_boot_needs_is_what_is_not_in_use_there(tmp_path):
    for name, size in (("kernel", 100), ("initrd", 20)):
        (tmp_path / name).write_bytes(b"x" * size)
    facts = HostFacts()
    assert _boot_needs("", facts) is None
    assert _boot_needs(str(tmp_path), facts) == 120
    in_use = msgspec.structs.replace(facts, booted_kernel=kernel_of(str(tmp_path)))
    assert _boot_needs(str(tmp_path), in_use) == 0
