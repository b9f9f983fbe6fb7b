"""Our scripts as hosts keep them, in the hands of real shells."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess

import pytest

from nixhive_nb.hosts import scripts
from nixhive_nb.hosts.facts import FACTS, parse_facts
from nixhive_nb.plan.facts import HostFacts
from nixhive_nb.ssh.link import RemoteResult
from tests.links import Links

NAME = scripts.hash_of(f"{FACTS}\n")
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


class Host:
    """One that keeps our words, or does not, and counts what it is asked."""

    def __init__(self, *, kept=True, exited=0):
        self.kept = kept
        self.exited = exited
        self.asked = []
        self.words = []

    async def run(self, _instance, command, *, seconds, on_line=None, stdin=None):
        self.asked.append("whole" if command == FACTS else "kept")
        self.words.append(command)
        if command != FACTS and not self.kept:
            return RemoteResult(exited=0, stdout=f"{scripts.GONE}\n", stderr="", seconds=0.0)
        said = f"current=/nix/store/{'a' * 32}-x\n" + (f"kept={NAME}\n" if self.kept else "")
        said += "" if f"hive_known='{'a' * 32}'" in command else f"current_kernel=/nix/store/{'b' * 32}-linux/bzImage\n"
        return RemoteResult(exited=0 if command == FACTS else self.exited, stdout=said, stderr="", seconds=0.0)


def asked(host, keeping):
    return asyncio.run(scripts.ask(Links(host.run), "web", keeping))


def test_a_host_that_keeps_our_words_is_asked_by_their_hash_from_the_second_time_on():
    host, keeping = Host(), {}
    assert asked(host, keeping).current == asked(host, keeping).current != ""
    assert host.asked == ["whole", "kept"]


def test_a_host_that_does_not_keep_them_is_asked_in_full_each_time():
    host, keeping = Host(kept=False), {}
    asked(host, keeping)
    asked(host, keeping)
    assert host.asked == ["whole", "whole"]


@pytest.mark.parametrize("host", [Host(kept=False), Host(exited=124)], ids=["gone", "ended by time"])
def test_what_is_no_whole_answer_is_asked_for_again_in_full(host):
    assert asked(host, {"web": HostFacts()}).current != ""
    assert host.asked == ["kept", "whole"]


def test_a_kernel_that_a_host_has_told_is_not_asked_for_again():
    host, keeping = Host(), {}
    first = asked(host, keeping)
    assert asked(host, keeping) == first
    assert asked(host, keeping).current_kernel == first.current_kernel != ()
    assert ["a" * 32 in words for words in host.words] == [False, True, True]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("content", "said"),
    [("echo it-is\n", "it-is\n"), ("echo it-was\n", f"{scripts.GONE}\n"), (None, f"{scripts.GONE}\n")],
)
def test_a_kept_script_is_run_only_as_it_was(shell, content, said, tmp_path):
    words = scripts.by_hash(scripts.hash_of("echo it-is\n"), "exec /bin/sh $hive_kept")
    script = tmp_path / "script"
    script.write_text(content or "")
    name = scripts.hash_of("echo it-is\n")
    put = f"cat {script} >/run/nixhive/script-{name}" if content else ":"
    argv = [shell, "sh"] if shell == "busybox" else [shell]
    inside = f'mount -t tmpfs none /run && mkdir /run/nixhive && {put} && exec "$@"'
    ended = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", inside, "sh", *argv, "-c", words],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == said


def test_the_text_of_an_activation_holds_its_words_in_single_quotes():
    assert "'" not in FACTS
    subprocess.run(["/bin/sh", "-n"], input=scripts.activation_script(), text=True, check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_who_tells_of_a_long_switch_ends_when_told_to_whatever_bash_reads_then(tmp_path):
    """Bash loses a handler of a signal that comes while it reads a command to substitute, and goes on for ever."""
    often = """
        dir=$3 drained=/dev/null tells=0
        sleep() { :; }
        exec 9>/dev/null 8>&9 7>&9 6>&9
        for round in 1 2 3 4 5 6 7 8 9 10; do
          for pause in 10 12 14 16 18 20 22 24 26 28; do
            tell_of_it >/dev/null &
            teller=$!
            command sleep "0.0$pause"
            { kill "$teller" && wait "$teller"; } 2>/dev/null
          done
        done
        echo over
    """
    told = subprocess.run(
        ["bash", "-c", f"{scripts.activation_script()}\n{often}", "bash", "functions", "id", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        start_new_session=True,
    )
    assert told.stdout == "over\n"
    assert told.stderr == ""


def test_a_host_that_keeps_the_words_answers_in_one_piece(tmp_path):
    """Each line by itself would be a packet, and wake two threads here."""
    (tmp_path / f"script-{NAME}").write_text(f"{FACTS}\n")
    ours, hosts = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, hosts:
        words = scripts._ASK_KEPT.replace("/run/nixhive", str(tmp_path))
        subprocess.run(["/bin/sh", "-c", words], stdout=hosts, stdin=subprocess.DEVNULL, check=True)
        ours.settimeout(0)
        whole = ours.recv(2**16)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
    assert parse_facts(whole.decode()).boot_id
