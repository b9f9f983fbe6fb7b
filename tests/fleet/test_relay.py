"""The relay scheme: content crosses the operator's link once, as the interface counts it."""

from __future__ import annotations

import json
import re

import pytest

from nixhive_nb.nix import commands
from nixhive_nb.util import process
from tests.practice import give_own_packages, start

pytestmark = pytest.mark.fleet

HOSTS = 5
A_HOST = 80_000
"""Bytes that a host is asked with besides: logins, and scripts of ours, a long one at each step of an activation,
which is looked at for longer where the machine is busy."""


@pytest.fixture
def fresh(tmp_path):
    """A fleet that has nothing yet, and systems of which no other fleet has had a path.

    All fleets share this machine's store, and each signs with a key of its own. A path goes over the link with all of
    its signatures: one that a hundred fleets had, with ten kilobytes of them.
    """
    one = start(tmp_path)
    give_own_packages(one, tmp_path)
    yield one
    one.lab.down()


def closure_bytes(fresh):
    """The bytes of all that the systems of the example need, each path once."""
    ended = fresh.nix_hive("build", "-c", "example")
    assert ended.returncode == 0, ended.stderr
    results = [system["result"] for system in json.loads(ended.stdout)["systems"].values()]
    paths = {path for result in results for path in process.run(commands.closure(result)).stdout.split()}
    return sum(map(int, process.run(commands.sizes(sorted(paths))).stdout.split()))


def signatures(fresh):
    """How many signatures each path of the example's systems has here."""
    ended = fresh.nix_hive("build", "-c", "example")
    results = [system["result"] for system in json.loads(ended.stdout)["systems"].values()]
    words = (*commands.NEW_COMMAND, "path-info", "--json", "--recursive", *results)
    told = json.loads(process.run(words).stdout)
    return {len(path.get("signatures", ())) for path in (told.values() if isinstance(told, dict) else told)}


def test_with_a_key_the_link_carries_the_content_once(fresh):
    content = closure_bytes(fresh)
    before = fresh.link_bytes()
    ended = fresh.nix_hive("deploy", "-c", "example", "portico", "*")
    sent = fresh.link_bytes() - before
    assert ended.returncode == 0, ended.stderr
    assert signatures(fresh) == {1}
    assert content <= sent <= 1.02 * content + A_HOST * HOSTS


def test_without_a_key_it_is_warned_and_the_report_shows_what_it_cost(fresh):
    expression = fresh.example / "default.nix"
    text = expression.read_text()
    line = next(line for line in text.splitlines() if line.strip().startswith("signing.keyFile"))
    expression.write_text(text.replace(line, ""))
    content = closure_bytes(fresh)
    before = fresh.link_bytes()
    ended = fresh.nix_hive("deploy", "-c", "example", "portico", "*")
    sent = fresh.link_bytes() - before
    assert ended.returncode == 0, ended.stderr
    (warning,) = [line for line in ended.stderr.splitlines() if line.startswith("warning:")]
    assert "signing.keyFile" in warning
    assert "(4 of them)" in warning
    assert sent > 3 * content
    for host in ("www-1", "www-2", "www-3", "depot"):
        assert f"fetch:{host}: done (from here)" in ended.stderr
    assert re.search(r"did not take it from ssh://portico \(.*(?:not signed by any of|lacks a signature)", ended.stderr)


def test_a_store_with_user_and_port_is_reached_as_it_is_written(fresh):
    expression = fresh.example / "default.nix"
    text = expression.read_text()
    assert 'store = "ssh://portico"' in text
    key = f"?ssh-key={fresh.lab.identity}"
    expression.write_text(text.replace('store = "ssh://portico"', f'store = "ssh://root@portico:22{key}"'))
    ended = fresh.nix_hive("push", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert "fetch:www-1: done (from relay)" in ended.stderr


def test_a_file_store_gets_what_is_pushed_and_the_host_is_copied_to(fresh):
    expression = fresh.example / "default.nix"
    cache = fresh.folder / "cache"
    text = expression.read_text().replace('store = "ssh://portico"', f'store = "file://{cache}"')
    expression.write_text(text)
    ended = fresh.nix_hive("push", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert list(cache.glob("*.narinfo"))
    assert "fetch:www-1: done (from here)" in ended.stderr
