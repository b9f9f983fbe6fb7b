"""What a host says when it is examined, by the shells of this machine; and what is read of an answer that is none."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time

import pytest

from nixhive_nb.hosts.examination import ToExamine, parse, words
from nixhive_nb.plan.examined import HostExamined
from nixhive_nb.plan.facts import HostFacts

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
GONE = "/nix/store/00000000000000000000000000000000-gone"


def told(text, sizes=None):
    return parse(text, sizes or {}, sent=100.0, heard=101.0)


def run(shell, asked):
    argv = [*([shell, "sh"] if shell == "busybox" else [shell]), "-c", words(asked)]
    return subprocess.run(argv, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)


@pytest.mark.nix
@pytest.mark.skipif(not shutil.which("nix-store"), reason="needs Nix")
@pytest.mark.parametrize("shell", SHELLS)
def test_the_words_are_understood_by_each_shell(shell):
    began = time.time()
    ended = run(shell, ToExamine(sizes={GONE: 7, "/": 5}))
    found = parse(ended.stdout, {GONE: 7, "/": 5}, sent=began, heard=time.time())
    assert (
        found.nix
        == subprocess.run(["nix-store", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    )
    assert found.settings is not None
    assert "require-sigs" in found.settings
    assert found.clock is not None
    assert found.clock.offset == 0.0
    assert found.lacks == 7
    assert found.relay is None
    assert ended.stderr == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_given_to_a_host_is_words_and_nothing_else(shell, tmp_path):
    """A store's URL, or what makes root, cannot begin another command."""
    mark = tmp_path / "ran"
    odd = f"ssh://a;touch {mark};'$(touch {mark})`touch {mark}`\""
    asked = ToExamine(elevate=("echo", odd), relay=odd, relay_hosts=(odd,), sizes={odd: 1})
    assert subprocess.run([shell, *(["sh"] if shell == "busybox" else []), "-n", "-c", words(asked)], check=True)
    ended = run(shell, asked)
    assert "nix=" in ended.stdout
    assert not mark.exists()


def test_an_answer_that_makes_no_sense_leaves_everything_open():
    noise = "Welcome!\nnix=2.8;rm\nclock=soon\npower=x\nrelay=\nboot_df=df: no\nsetting=\nlacks=/x\nnames=\n"
    assert told(noise) == HostExamined(facts=HostFacts(), settings={"": ""})


def test_what_a_host_says_steers_no_terminal_and_is_bounded():
    found = told("power=1\npower_said=\x1b[2J" + "a" * 10_000 + "\nrelay=1\nrelay_said=\x1b[31m" + "b" * 10_000)
    assert found.relay is not None
    assert "\x1b" not in found.power_said + found.relay.said
    assert len(found.power_said) <= 400
    assert len(found.relay.said) <= 400


def test_why_a_relay_is_not_reached_is_what_ssh_says_of_it():
    said = "ssh: connect to host portico port 22: Connection refused"
    found = told(f"relay=1\nrelay_said={said}\nrelay_said=error: failed to start SSH connection to 'portico'")
    assert found.relay is not None
    assert (found.relay.is_reached, found.relay.said) == (False, said)


def test_a_clock_without_fractions_is_right_for_a_second_more():
    assert told("clock=100.%N").clock.offset == 0.0
    assert told("clock=99.%N").clock.offset == 0.0
    assert told("clock=90.%N").clock.offset == -9.0
    assert told("clock=3700.25").clock.offset == 3599.25


def test_only_what_belongs_to_the_system_counts_as_lacking():
    found = told(f"lacks={GONE}\nlacks={GONE}\nlacks=/etc/passwd\n", {GONE: 7})
    assert found.lacks == 7


def test_the_words_of_root_stand_as_they_are_given():
    assert shlex.quote("sudo -n --") in words(ToExamine(elevate=("sudo", "-n", "--")))
