"""The log of real Nix is read; what we do not know in it is passed over."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixhive_nb.nix import commands
from nixhive_nb.nix.log import NixLog, headline
from nixhive_nb.nix.realise import build_failure
from nixhive_nb.util import process

pytestmark = pytest.mark.nix

EXPRESSION = """
{ salt }: let
  make = name: deps: script: derivation {
    inherit name deps; system = builtins.currentSystem; builder = "/bin/sh"; PATH = "/usr/bin:/bin";
    args = [ "-c" script ];
  };
  base = make "base-${salt}" [ ] "echo a word from base; seq 1 2000 > $out";
  bad = make "bad-${salt}" [ ] "echo it is broken >&2; exit 3";
in {
  good = make "good-${salt}" [ base ] "echo $deps > $out";
  broken = make "broken-${salt}" [ base bad ] "echo $deps > $out";
}
"""


@pytest.fixture
def derivations(tmp_path):
    (tmp_path / "default.nix").write_text(EXPRESSION)
    salt = tmp_path.as_posix().replace("/", "-").strip("-")

    def instantiate(name):
        ended = process.run(["nix-instantiate", str(tmp_path), "--argstr", "salt", salt, "-A", name])
        assert ended.status == 0, ended.stderr
        return ended.stdout.strip()

    return instantiate


def read(argv, sizes=None):
    log, texts = NixLog(sizes), []
    ended = process.run(argv)
    for line in ended.stderr.splitlines():
        texts += log.feed(line)
    return ended, log, texts


OFFLINE = ["--option", "substituters", ""]


def test_a_build_counts_derivations_and_passes_the_builders_lines_on(derivations):
    _, log, texts = read(commands.realise([derivations("good")], OFFLINE))
    assert log.built == (2, 2)
    assert "a word from base" in texts
    assert log.errors == []


def test_a_derivation_that_has_just_been_built_counts_once_though_nix_2_34_counts_it_twice():
    log, seen = NixLog(), []
    log.feed('@nix {"action":"start","id":2,"level":0,"parent":0,"text":"","type":104}')
    for fields in ([0, 0, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0], [0, 2, 1, 0], [1, 3, 0, 0], [1, 2, 1, 0], [2, 3, 0, 0]):
        log.feed("@nix " + json.dumps({"action": "result", "fields": fields, "id": 2, "type": 105}))
        seen.append(log.built)
    assert seen == [(0, 0), (0, 1), (0, 2), (0, 2), (1, 2), (1, 2), (2, 2)]
    # One that is found to be needed on the way counts.
    log.feed('@nix {"action":"result","fields":[2,3,1,0],"id":2,"type":105}')
    assert log.built == (2, 3)


def test_a_broken_build_names_the_derivation_and_keeps_its_last_lines(derivations):
    ended, log, _ = read(commands.realise([derivations("broken")], OFFLINE))
    assert ended.status != 0
    assert any("bad-" in headline(error) and "exit code 3" in headline(error) for error in log.errors)
    assert [list(lines) for drv, lines in log.build_lines.items() if "-bad-" in drv] == [["it is broken"]]


def test_a_system_that_needs_what_is_broken_fails_with_that_and_the_builders_words(derivations):
    broken = derivations("broken")
    _, log, _ = read(commands.realise([broken], OFFLINE))
    failure = asyncio.run(build_failure(broken, log))
    assert "-bad-" in str(failure)
    assert str(failure).endswith("failed with exit code 3")
    assert failure.log == ("it is broken",)


# What Nix wrote of a builder that failed, and of what needed its result.
FAILED = {
    "2.8 and 2.26": (
        "builder for '\x1b[35;1m/nix/store/x-bad.drv\x1b[0m' failed with exit code 3",
        "1 dependencies of derivation '\x1b[35;1m/nix/store/x-broken.drv\x1b[0m' failed to build",
    ),
    "2.34": (
        (
            "Cannot build '\x1b[35;1m/nix/store/x-bad.drv\x1b[0m'.\n"
            "Reason: \x1b[31;1mbuilder failed with exit code 3\x1b[0m.\n"
            "Output paths:\n  \x1b[35;1m/nix/store/y-bad\x1b[0m"
        ),
        (
            "Cannot build '\x1b[35;1m/nix/store/x-broken.drv\x1b[0m'.\n"
            "Reason: \x1b[31;1m1 dependency failed\x1b[0m.\n"
            "Output paths:\n  \x1b[35;1m/nix/store/y-broken\x1b[0m"
        ),
    ),
}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("2.8 and 2.26", "builder for '/nix/store/x-bad.drv' failed with exit code 3"),
        ("2.34", "Cannot build '/nix/store/x-bad.drv': builder failed with exit code 3"),
    ],
)
def test_the_reason_is_in_the_headline_in_each_form_of_nix(form, expected, monkeypatch):
    log = NixLog()
    log.feed('@nix {"action":"start","id":1,"type":105,"fields":["/nix/store/x-bad.drv","",1,1],"text":"building"}')
    log.feed('@nix {"action":"result","id":1,"type":101,"fields":["it is broken"]}')
    for text in FAILED[form]:
        log.feed("@nix " + json.dumps({"action": "msg", "level": 0, "msg": f"error: {text}", "raw_msg": text}))

    async def closure(*_):
        return process.Finished(argv=(), status=0, stdout="/nix/store/x-broken.drv\n/nix/store/x-bad.drv\n", stderr="")

    monkeypatch.setattr(process, "stream", closure)  # such a derivation is nowhere
    failure = asyncio.run(build_failure("/nix/store/x-broken.drv", log))
    assert str(failure) == expected
    assert failure.log == ("it is broken",)


def test_a_message_of_several_lines_without_a_reason_has_its_first_as_headline():
    assert (
        headline("hash mismatch in '/nix/store/x.drv':\n  specified: a\n  got: b")
        == "hash mismatch in '/nix/store/x.drv':"
    )
    assert headline("") == ""


def test_a_copy_counts_the_bytes_of_the_paths_that_went_over(derivations, tmp_path):
    good = process.run(["nix-store", "--realise", derivations("good"), *OFFLINE]).stdout.strip()
    closure = process.run(commands.closure(good)).stdout.split()
    sizes = dict(zip(closure, map(int, process.run(commands.sizes(closure)).stdout.split()), strict=True))
    store = f"local?root={tmp_path}/store"
    ended, log, _ = read(commands.copy(good, store, ["--no-check-sigs"]), sizes)
    assert ended.status == 0, ended.stderr
    assert sorted(log.paths_copied) == sorted(closure)
    assert log.bytes_copied == sum(sizes.values())

    _, again, _ = read(commands.copy(good, store, ["--no-check-sigs"]), sizes)
    assert again.bytes_copied == 0


def test_a_closure_and_its_sizes_come_in_one_command_also_those_of_a_derivation(derivations):
    recipe = derivations("good")
    good = process.run(["nix-store", "--realise", recipe, *OFFLINE]).stdout.strip()
    for path, number in ((good, 2), (recipe, None)):
        closure = process.run(commands.closure(path)).stdout.split()
        sizes = map(int, process.run(commands.sizes(closure)).stdout.split())
        told = commands.sized_lines(process.run(commands.closure_sizes(path)).stdout)
        assert told == dict(zip(closure, sizes, strict=True))
        assert number in (None, len(told))
        assert path in told


def test_a_line_that_is_not_nixs_own_is_text_without_terminal_control():
    assert NixLog().feed("\x1b[31mssh: no route to host\x1b[0m") == ("ssh: no route to host",)


def test_bytes_within_a_path_count_where_nix_tells_them():
    log = NixLog({"/nix/store/x": 100})
    log.feed('@nix {"action":"start","id":7,"type":100,"fields":["/nix/store/x","",""],"text":"copying"}')
    log.feed('@nix {"action":"result","id":7,"type":105,"fields":[40,100,0,0]}')
    assert log.bytes_copied == 40
    log.feed('@nix {"action":"result","id":7,"type":105,"fields":[100,100,0,0]}')
    log.feed('@nix {"action":"stop","id":7}')
    assert log.bytes_copied == 100


def test_the_padding_at_the_end_of_a_path_counts_though_nix_2_26_does_not_tell_of_it():
    log = NixLog({"/nix/store/x": 168})
    log.feed('@nix {"action":"start","id":7,"type":100,"fields":["/nix/store/x","",""],"text":"copying"}')
    log.feed('@nix {"action":"result","id":7,"type":105,"fields":[161,168,0,0]}')
    log.feed('@nix {"action":"stop","id":7}')
    assert log.bytes_copied == 168


def test_a_copy_that_broke_off_counts_what_went_over():
    log = NixLog({"/nix/store/x": 100})
    log.feed('@nix {"action":"start","id":7,"type":100,"fields":["/nix/store/x","",""],"text":"copying"}')
    log.feed('@nix {"action":"result","id":7,"type":105,"fields":[40,100,0,0]}')
    log.feed('@nix {"action":"stop","id":7}')
    assert log.bytes_copied == 40


def test_a_path_of_which_nix_tells_nothing_on_its_way_counts_whole():
    log = NixLog({"/nix/store/x": 100})
    log.feed('@nix {"action":"start","id":7,"type":100,"fields":["/nix/store/x","",""],"text":"copying"}')
    log.feed('@nix {"action":"stop","id":7}')
    assert log.bytes_copied == 100


@pytest.mark.parametrize(
    "line",
    [
        "@nix ",
        "@nix {",
        "@nix []",
        '@nix {"action":"start"}',
        '@nix {"action":"start","id":"x","type":100,"fields":[1]}',
        '@nix {"action":"result","id":1,"type":105,"fields":["a"]}',
        '@nix {"action":"stop"}',
        '@nix {"action":"stop","id":[1]}',
        '@nix {"action":"result","id":{},"type":101,"fields":["x"]}',
        '@nix {"action":"msg","level":null,"msg":null}',
        '@nix {"action":"start","id":1,"type":9999,"text":"new"}',
        '@nix {"action":"start","id":1,"type":100,"fields":{"a":1}}',
        '@nix {"action":"fly"}',
    ],
)
def test_a_line_of_an_unknown_form_is_passed_over(line):
    assert NixLog().feed(line) in ((), ("x",))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "x"]), inner, max_size=2),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {"action": st.sampled_from(["start", "stop", "result", "msg"])},
        optional={
            "id": JSON,
            "type": st.sampled_from([100, 101, 104, 105, 107]) | JSON,
            "fields": JSON,
            "text": JSON,
            "level": JSON,
            "msg": JSON,
        },
    )
)
def test_no_message_breaks_the_reader(message):
    log = NixLog()
    for _ in range(2):
        log.feed("@nix " + json.dumps(message))
    assert isinstance(log.bytes_copied, int)
