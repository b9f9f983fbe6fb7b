"""Stores are reached as their URL says (case 27)."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess

import pytest

from nixhive_nb.deployment.inventory import Inventory
from nixhive_nb.errors import StepFailed
from nixhive_nb.nix.build import Built
from nixhive_nb.nix.copy import Transfer
from nixhive_nb.nix.stores import SshStore, ssh_store, store_for_nix
from nixhive_nb.plan.events import Result
from nixhive_nb.plan.step import Step
from nixhive_nb.ssh.config import write_ssh_files
from nixhive_nb.ssh.link import RemoteResult
from tests.links import Links


@pytest.mark.parametrize(
    ("url", "store"),
    [
        ("ssh://portico", SshStore(host="portico")),
        ("ssh-ng://Portico", SshStore(host="Portico")),
        ("ssh://root@portico:2222?compress=true", SshStore(host="portico", user="root", port=2222)),
        ("ssh://r?remote-store=local%3Froot%3D/srv", SshStore(host="r", is_elsewhere=True)),
        ("ssh-ng://r?remote-program=nix&root=/x", SshStore(host="r", is_elsewhere=True)),
        ("ssh://[fe80::1]:22", SshStore(host="fe80::1", port=22)),
        ("file:///var/cache", None),
        ("https://cache.example", None),
        ("s3://bucket?region=eu", None),
        ("/var/store", None),
    ],
)
def test_where_a_store_is(url, store):
    assert ssh_store(url) == store


def test_the_words_of_ssh_that_reach_a_store():
    store = SshStore(host="portico", user="root", port=2222)
    assert store.argv("/c", "true") == ["ssh", "-F", "/c", "-l", "root", "-p", "2222", "--", "portico", "true"]
    assert SshStore(host="portico").argv("/c", "true") == ["ssh", "-F", "/c", "--", "portico", "true"]


@pytest.mark.parametrize(
    "url",
    ["ssh://portico", "ssh-ng://root@portico?x=1", "file:///var/cache", "https://c.example", "s3://b?region=eu"],
)
def test_nix_gets_a_store_as_it_is_written(url):
    assert store_for_nix(url) == (url, "")


def test_a_port_goes_to_ssh_since_nix_would_take_it_for_a_name():
    assert store_for_nix("ssh://root@portico:2222?ssh-key=/k") == ("ssh://root@portico?ssh-key=/k", "-p 2222")
    assert store_for_nix("ssh-ng://[fe80::1]:22") == ("ssh-ng://[fe80::1]", "-p 22")


class Told:
    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)

    def progress(self, done, expected):
        pass


def fetched_after(tmp_path, meanwhile):
    """Push a path to a file store, do something, and fetch it on a host that gets all by itself; give what is told."""
    file = tmp_path / f"it-{secrets.token_hex(4)}"
    file.write_text("content\n")
    path = subprocess.run(["nix-store", "--add", file], capture_output=True, text=True, check=True).stdout.strip()
    cache = tmp_path / "cache"

    async def remote(instance, command, *, seconds, on_line=None, stdin=None):
        return RemoteResult(exited=0, stdout="", stderr="", seconds=0)

    async def steps():
        transfer = Transfer(
            {"www-1"},
            write_ssh_files(Inventory(source="t"), tmp_path / "ssh"),
            Links(remote),
            way=lambda _: None,
            trust=0.0,
        )
        built, told = Built(path=path, sizes={path: 100}), Told()
        store = f"file://{cache}"
        await transfer.push(Step(id="p", kind="push", store=store), built, told)
        meanwhile(cache)
        fetch = Step(id="f", kind="fetch", instance="www-1", store=store)
        return await transfer.fetch(fetch, built, told), told.lines, list(cache.glob("*.narinfo"))

    return asyncio.run(steps())


def test_a_store_that_can_hold_no_root_is_looked_at_again_before_use(tmp_path):
    """Case 7: what has vanished there is pushed again, and that is said."""
    result, lines, there = fetched_after(tmp_path, shutil.rmtree)
    assert there
    assert [line for line in lines if "any more: it is pushed again" in line]
    assert "any more, and was pushed again" in result.warning


def test_a_store_that_still_has_it_is_left_alone(tmp_path):
    """Case 7."""
    result, lines, there = fetched_after(tmp_path, lambda _cache: None)
    assert there
    assert not result.warning
    assert not [line for line in lines if "pushed again" in line]


def test_roots_are_made_as_new_while_the_run_goes_on_and_let_go_once(tmp_path):
    """Case 7: a run that takes days keeps what it copied."""
    asked = []

    async def steps():
        renewed = asyncio.Event()

        async def remote(instance, command, *, seconds, on_line=None, stdin=None):
            asked.append(command.split()[2])
            if on_line:
                on_line("nixhive rooted")
            if asked[-1] == "keep":
                renewed.set()
            return RemoteResult(exited=0, stdout="", stderr="", seconds=0)

        files = write_ssh_files(Inventory(source="t"), tmp_path / "ssh")
        transfer = Transfer({"www-1"}, files, Links(remote), way=lambda _: None, renew=0.01)
        built = Built(path="/nix/store/x", sizes={})
        await transfer.fetch(Step(id="f", kind="fetch", instance="www-1"), built, Told())
        await renewed.wait()
        await transfer.release("www-1", built.path)
        await transfer.release("www-1", built.path)

    asyncio.run(steps())
    assert asked[0] == "fetch"
    assert set(asked[1:]) == {"keep", "release"}
    assert asked.count("release") == 1


@pytest.mark.parametrize("there", [True, False])
def test_a_relay_that_is_an_instance_is_asked_over_the_kept_link_whether_it_has_what_was_copied(
    tmp_path, monkeypatch, there
):
    """By Nix it would be a login and a Nix on both sides more, before any host can fetch."""
    path = f"/nix/store/{'a' * 32}-x"
    asked = []

    async def remote(instance, command, *, seconds, on_line=None, stdin=None):
        asked.append(command)
        missing = "" if there or "--check-validity" not in command else path
        return RemoteResult(exited=0 if "--check-validity" in command else 1, stdout=missing, stderr="", seconds=0)

    async def copied(_self, built, store, tell, *, asked=""):
        return Result(path=built.path, how=f"{store} {asked}")

    monkeypatch.setattr(Transfer, "_copy", copied)
    monkeypatch.setattr(Transfer, "_path_info", None)
    files = write_ssh_files(Inventory(source="t"), tmp_path / "ssh")
    transfer = Transfer({"portico"}, files, Links(remote), way=lambda _: None)
    pushed = transfer.push(Step(id="p", kind="push", store="ssh://portico"), Built(path=path, sizes={}), Told())
    if there:
        assert asyncio.run(pushed).how == "ssh://portico portico"
        assert len(asked) == 2
    else:
        with pytest.raises(StepFailed, match="copied to portico and is not in its store"):
            asyncio.run(pushed)
