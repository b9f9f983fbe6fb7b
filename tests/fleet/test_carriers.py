"""Every word over OpenSSH, on a practice fleet: a deploy with its confirming word, checks, a command, a reboot."""

from __future__ import annotations

import json

import pytest

from tests.practice import start

pytestmark = pytest.mark.fleet


CHECKED = """
let
  hive = import ./example;
  checks = { listens = { tcp = 22; }; says = { command = [ "true" ]; }; };
in
hive // { instances = hive.instances // { www-1 = hive.instances.www-1 // { inherit checks; }; }; }
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    one = start(tmp_path_factory.mktemp("fleet"), web=1)
    (one.folder / "checked.nix").write_text(CHECKED)
    yield one
    one.lab.down()


def test_each_word_does_over_openssh_what_it_does_over_fabric(fleet):
    def said(*words):
        ended = fleet.nix_hive(words[0], "-c", "checked.nix", "--carrier", "openssh", *words[1:])
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    said("deploy", "--yes", "portico", "www-1")
    rows = json.loads(said("status", "--json", "portico", "www-1"))
    assert [(row["state"], row["carrier"]) for row in rows] == [("in sync", "openssh")] * 2
    assert "the word" in said("run", "--var", "WORD=the word", "www-1", 'echo "$WORD"')
    said("check", "www-1")
    said("diff", "www-1")
    said("generations", "www-1")
    said("reboot", "--yes", "www-1")
    # The other carrier sees the same.
    rows = json.loads(fleet.nix_hive("status", "-c", "checked.nix", "--json", "www-1").stdout)
    assert [(row["state"], row["carrier"]) for row in rows] == [("in sync", "fabric")]
