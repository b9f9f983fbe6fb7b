"""`nix.build.flags` reach the build: another host of the fleet builds for us, over ssh."""

from __future__ import annotations

import secrets

import pytest

from nixhive_nb.lab import HostSpec
from tests.practice import start

pytestmark = pytest.mark.fleet


@pytest.fixture
def with_builder(tmp_path):
    one = start(tmp_path, web=1, specs=[HostSpec("builder", "builder")])
    yield one
    one.lab.down()


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_remote_builder_builds_what_is_not_there(with_builder):
    marker = f"hive-{secrets.token_hex(6)}"
    replace(with_builder.example / "www.nix", '"This is a web server."', f'"{marker}"')
    expression = with_builder.example / "default.nix"
    replace(expression, 'depot = inner "depot"', 'builder = inner "builder" "depot" [ ];\n      depot = inner "depot"')
    flags = '"--builders" "ssh://builder x86_64-linux,aarch64-linux - 2 1" "--max-jobs" "0"'
    replace(expression, "nix.build.flags = lab.buildFlags or [ ];", f"nix.build.flags = lab.buildFlags ++ [ {flags} ];")

    ended = with_builder.nix_hive("build", "-c", "example", "www")

    assert ended.returncode == 0, ended.stderr
    motds = "grep -rl " + marker + " /nix/store --include=*motd* -s || true"
    assert "/nix/store/" in with_builder.lab.exec("builder", ["sh", "-c", motds])
