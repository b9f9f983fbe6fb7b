"""Connections to real servers: commands, threads, broken links. One test for each trap of Fabric and paramiko."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import fabric
import paramiko
import pytest

from nixhive_nb.errors import ConnectionFailed, LinkLost
from nixhive_nb.ssh.ears import waited
from nixhive_nb.ssh.openssh import SIGNALLED
from nixhive_nb.ssh.pool import Connections
from tests.sshd import BOTH, FABRIC, eager_threads, eventually, in_threads, public

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]
CARRIERS = BOTH


# Commands


def test_a_command_gives_its_status_and_both_outputs(site):
    connections = site.connect(site.instance("web", site.sshd()))
    lines = []
    result = connections.run(
        "web", "echo one; echo two >&2; printf 'tail ü'; exit 3", on_line=lambda *line: lines.append(line)
    )
    assert (result.exited, result.stdout, result.stderr) == (3, "one\ntail ü", "two\n")
    assert sorted(lines) == [("stderr", "two"), ("stdout", "one"), ("stdout", "tail ü")]
    assert result.seconds > 0


def test_the_connection_is_kept(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    assert not connections.is_open("web")
    for _ in range(5):
        assert connections.run("web", "true").exited == 0
    assert connections.is_open("web")
    assert server.logins() == 1


def test_lines_come_while_the_command_runs(site):
    connections = site.connect(site.instance("web", site.sshd()))
    heard = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(
            connections.run, "web", "echo now; read word; echo $word", stdin=None, on_line=lambda *_: heard.set()
        )
        assert heard.wait(20)
        # Without input there is an end of input, so that nothing waits for words that never come.
        assert ended.result(20).stdout == "now\n\n"


def test_input_arrives_as_it_is_and_ends(site):
    connections = site.connect(site.instance("web", site.sshd()))
    data = bytes(range(256)) * 4096 + "grün\r\n".encode()
    result = connections.run("web", "sha256sum", stdin=data)
    assert result.stdout.split()[0] == hashlib.sha256(data).hexdigest()
    assert connections.run("web", "cat", stdin="text ü\n").stdout == "text ü\n"
    assert connections.run("web", "cat", stdin="").stdout == ""
    assert connections.run("web", "cat").stdout == ""


def test_input_that_nobody_reads_does_no_harm(site):
    connections = site.connect(site.instance("web", site.sshd()))
    result = connections.run("web", "echo gone; exit 4", stdin=b"x" * 8_000_000)
    assert (result.exited, result.stdout) == (4, "gone\n")
    assert connections.run("web", "true").exited == 0


def test_a_long_line_on_one_stream_and_nothing_on_the_other(site):
    connections = site.connect(site.instance("web", site.sshd()))
    lines = []
    result = connections.run(
        "web", "head -c 1000000 /dev/zero | tr '\\0' x >&2", on_line=lambda *line: lines.append(line)
    )
    assert (result.exited, result.stdout, result.stderr) == (0, "", "x" * 1_000_000)
    assert lines == [("stderr", "x" * 1_000_000)]


def test_characters_that_are_cut_in_two_by_the_network(site):
    connections = site.connect(site.instance("web", site.sshd()))
    text = "ü" * 100_000
    command = f"printf 'a'; head -c {len(text.encode())} /dev/stdin; printf '\\377'"
    assert connections.run("web", command, stdin=text).stdout == "a" + text + "\ufffd"


def test_a_command_ended_by_a_signal_is_a_result(site, carrier):
    connections = site.connect(site.instance("web", site.sshd()))
    # OpenSSH does not tell which signal it was.
    told = 128 + signal.SIGKILL if carrier == "fabric" else SIGNALLED
    assert connections.run("web", "kill -KILL $$").exited == told
    assert connections.is_open("web")


def test_an_error_of_the_listener_is_raised_and_the_connection_stays(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))

    def broken(stream, line):
        raise ZeroDivisionError(line)

    with pytest.raises(ZeroDivisionError, match="word"):
        connections.run("web", "echo word; sleep 60", on_line=broken)
    assert connections.run("web", "true").exited == 0
    assert server.logins() == 1


def test_many_commands_at_once_on_one_host(site, caplog):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    connections.open("web")

    def work(number):
        return connections.run("web", f"echo {number}", stdin=None if number % 2 else b"x" * 200_000).stdout

    with caplog.at_level(logging.INFO), eager_threads():
        results = in_threads(16, work, range(200))
    assert results == [f"{number}\n" for number in range(200)]
    # Never more sessions than a stock sshd allows, which counts those that end while others begin; and no message to a
    # session that has ended. The one costs tries, and a login in the end, the other the link.
    assert [said for said in caplog.messages if "was not sent" in said] == []
    assert server.logins() == 1


# What Fabric must not do


@FABRIC
def test_fabric_reads_no_configuration_of_ssh(site, monkeypatch):
    def forbidden(*_):
        raise AssertionError("an ssh_config was parsed by paramiko")

    monkeypatch.setattr(paramiko.SSHConfig, "parse", forbidden)
    monkeypatch.setattr(fabric.Config, "_load_ssh_file", forbidden)
    own = site.folder / "own"
    # OpenSSH understands all of this; paramiko fails on it, or reads it as something else.
    own.write_text("ForwardAgent $SSH_AUTH_SOCK\nConnectTimeout 1m\nMatch final\n  Compression no\n")
    connections = site.connect(site.instance("web", site.sshd()), user_files=[own])
    assert connections.run("web", "true").exited == 0


@FABRIC
def test_many_connections_are_made_at_once(site):
    server = site.sshd(extra="MaxStartups 100")
    names = [f"h{number}" for number in range(96)]
    connections = site.connect(*(site.instance(name, server) for name in names), logins_per_jump=32)
    with eager_threads():  # makes the race in Fabric's configuration all but certain
        results = in_threads(32, lambda name: connections.run(name, f"echo {name}").stdout, names)
    assert results == [f"{name}\n" for name in names]
    assert server.logins() == 96


def test_one_host_is_opened_once_by_many_threads(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    in_threads(16, lambda _: connections.open("web"), range(32))
    assert server.logins() == 1


@FABRIC
def test_nagle_is_off(site):
    connections = site.connect(site.instance("web", site.sshd()))
    connections.open("web")
    link = connections._hosts["web"].opened.link
    assert link.option(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert link.option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@FABRIC
def test_an_idle_connection_costs_one_thread(site):
    server = site.sshd()
    before = set(threading.enumerate())
    names_before = {thread.name for thread in before}
    names = [f"h{number}" for number in range(5)]
    connections = site.connect(*(site.instance(name, server) for name in names))
    for name in names:
        connections.run(name, "true")

    def ours():
        new = set(threading.enumerate()) - before
        return [t for t in new if isinstance(t, paramiko.Transport) or t.name == "hive-watchdog"]

    eventually(lambda: len(ours()) == 6, "one thread a connection, and one for all")
    others = {thread.name for thread in threading.enumerate()} - {thread.name for thread in ours()}
    assert others <= names_before


# Broken links


def test_a_stalled_server_ends_at_the_time_limit(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    # After a command all the processes of the session are there; right after the login sshd still makes some.
    connections.run("web", "true")
    server.signal_sessions(signal.SIGSTOP)
    try:
        with pytest.raises(LinkLost, match="no answer in 1 s"):
            connections.run("web", "true", timeout=1)
        assert not connections.is_open("web")
    finally:
        server.signal_sessions(signal.SIGCONT)


def test_a_command_that_takes_too_long_ends_at_the_time_limit(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    with pytest.raises(LinkLost, match=r"web: no answer in 2 s. What ran there may still run"):
        connections.run("web", "echo begun; sleep 60", timeout=2.0)
    assert connections.run("web", "true", timeout=20).exited == 0
    assert server.logins() == 2


def test_a_silent_link_is_given_up_without_any_time_limit(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server), alive_interval=0.5, alive_misses=4)
    # The life signs themselves keep a quiet command going for longer than the silence that is allowed.
    assert connections.run("web", "sleep 5").exited == 0
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connections.run, "web", "sleep 60")
        eventually(lambda: server.log().count("Starting session") == 2, "the command")
        server.signal_sessions(signal.SIGSTOP)
        try:
            with pytest.raises(LinkLost, match="nothing was heard from it for 2 s"):
                waiting.result(30)
        finally:
            server.signal_sessions(signal.SIGCONT)


def test_a_server_that_stalls_during_the_login(site):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = site.sshd()
        instance = site.instance("web", server, Port=silent.getsockname()[1], ConnectTimeout=1)
        connections = site.connect(instance)
        with pytest.raises(ConnectionFailed, match="did not answer within 1 s"):
            connections.run("web", "true")


def logins(server):
    return server.log().count("Accepted publickey")


def test_what_is_tried_again_after_the_block_of_a_fresh_connection_logs_in_no_more(site):
    """Nobody would close that connection."""
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    with connections.fresh("web") as line:
        assert waited(line.steps("true")).exited == 0
    with pytest.raises(ConnectionFailed, match="web: given up before the command was sent"):
        waited(line.steps("true"))
    assert logins(server) == 1


def test_what_begins_after_all_was_closed_logs_in_no_more(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    late = connections.steps("web", "true")
    connections.close_all()
    with pytest.raises(ConnectionFailed, match="web: given up before the command was sent"):
        waited(late)
    assert logins(server) == 0


def test_a_lost_link_while_a_command_runs(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    counter = site.folder / "counter"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(connections.run, "web", f"echo x >>{counter}; sleep 60")
        eventually(counter.exists, "the command")
        server.signal_sessions(signal.SIGKILL)
        with pytest.raises(LinkLost, match="What ran there may still run"):
            running.result(20)
    assert connections.run("web", "true").exited == 0
    assert counter.read_text() == "x\n", "a command that was sent is never sent again"


def test_a_dead_connection_is_replaced_before_use(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    # After a command all the processes of the session are there; right after the login sshd still makes some.
    connections.run("web", "true")
    server.signal_sessions(signal.SIGKILL)
    # At once, perhaps before we have noticed, and again when it is certain.
    assert connections.run("web", "true").exited == 0
    server.signal_sessions(signal.SIGKILL)
    eventually(lambda: not connections.is_open("web"), "the end of the link")
    assert connections.run("web", "true").exited == 0
    assert server.logins() == 3


@FABRIC
def test_a_connection_that_gave_no_sign_of_life_is_replaced_and_no_session_waited_for_in_it(site, caplog):
    """A host that is off kept us for 15 seconds, before the time of its login began."""
    caplog.set_level(logging.INFO, "nixhive_nb.ssh.sender")
    server = site.sshd()
    connections = site.connect(site.instance("web", server), alive_interval=0.5, alive_misses=1000)
    connections.run("web", "true")
    server.signal_sessions(signal.SIGSTOP)
    opened = connections._hosts["web"].opened
    try:
        eventually(lambda: opened.is_silent(1.0), "the silence")
        assert connections.run("web", "true").exited == 0
    finally:
        server.signal_sessions(signal.SIGCONT)
    assert server.logins() == 2
    assert "not sent" not in caplog.text


def test_abort_ends_a_command_from_another_thread(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(connections.run, "web", "echo; sleep 60", on_line=lambda *_: begun.set())
        assert begun.wait(20)
        connections.abort("web")
        with pytest.raises(LinkLost, match="broken off here"):
            running.result(10)
    assert connections.run("web", "true").exited == 0


def test_abort_ends_a_login_and_the_waits_of_others(site):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = site.sshd()
        stuck = site.instance("web", server, Port=silent.getsockname()[1], ConnectTimeout=90)
        connections = site.connect(stuck)
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(connections.run, "web", "true") for _ in range(2)]
            silent.settimeout(20)
            accepted, _ = silent.accept()
            connections.abort("web")
            for one in waiting:
                with pytest.raises(ConnectionFailed, match="given up"):
                    one.result(10)
            accepted.close()


def test_an_interrupt_ends_the_wait_of_the_main_thread(site):
    connections = site.connect(site.instance("web", site.sshd()))

    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        connections.run("web", "echo; sleep 60", on_line=interrupt)
    assert connections.run("web", "true").exited == 0


def test_close_while_a_command_runs_and_after_it(site):
    connections = site.connect(site.instance("web", site.sshd()))
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(connections.run, "web", "echo; sleep 60", on_line=lambda *_: begun.set())
        assert begun.wait(20)
        connections.close_all()
        with pytest.raises(LinkLost, match="the connections were closed"):
            running.result(10)
    with pytest.raises(ConnectionFailed, match="were closed"):
        connections.run("web", "true")
    connections.close_all()


def test_the_garbage_collector_closes_too(site):
    server = site.sshd()
    connections = Connections(*site.files(site.instance("web", server)))
    connections.run("web", "true")
    opened = connections._hosts["web"].opened
    del connections
    gc.collect()
    eventually(lambda: not opened.alive, "the end of the connection")


FEW = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[3]), 64))
from nixhive_nb.ssh.pool import Connections
from nixhive_nb.ssh.config import SshFiles
from nixhive_nb.deployment.inventory import Instance, Inventory

folder, key = Path(sys.argv[1]), sys.argv[2]
files = SshFiles(folder=folder, config=folder / "config", batch=folder / "batch", known_hosts=folder / "known_hosts")
names = [f"h{number}" for number in range(30)]
hosts = {name: Instance(name=name, system="s", host_keys=(key,)) for name in names}
with Connections(Inventory(source="t", instances=hosts), files) as connections, ThreadPoolExecutor(30) as pool:
    for _ in range(2):
        said = list(pool.map(lambda name: connections.run(name, f"echo {name}").stdout.strip(), names))
        assert said == names, said
"""


@pytest.mark.parametrize("soft", [30, 64])
def test_with_few_files_hosts_wait_for_idle_ones_to_be_closed_and_none_is_blamed(site, soft):
    """Case 15: with 64 files, 15 of 60 hosts were unreachable."""
    server = site.sshd(extra="MaxStartups 100")
    _, files = site.files(*(site.instance(f"h{number}", server) for number in range(30)))
    argv = [sys.executable, "-c", FEW, files.folder, public(site.keys["host-ed25519"]), str(soft)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_connection_that_was_idle_longest_goes_first_and_none_that_is_in_use(site):
    """Case 15."""
    server = site.sshd()
    connections = site.connect(*(site.instance(name, server) for name in "abcd"), most=2)
    begun, calls = threading.Event(), []
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(
            connections.run,
            "a",
            "echo begun; read line; echo $line",
            stdin="",
            ending=b"go\n",
            on_line=lambda *_: begun.set(),
            on_call=calls.append,
        )
        assert begun.wait(20)
        connections.open("b")
        connections.open("c")
        assert [connections.is_open(name) for name in "abc"] == [True, False, True]
        calls[0].session.say(b"it was not touched\n")
        assert held.result(20).stdout == "begun\nit was not touched\n"
    connections.run("c", "true")
    connections.open("d")
    assert [connections.is_open(name) for name in "abcd"] == [False, False, True, True]


def test_no_more_connections_are_kept_than_the_limit_and_one_that_was_closed_is_opened_again(site):
    server = site.sshd()
    names = "abcde"
    connections = site.connect(*(site.instance(name, server) for name in names))
    connections.keep(3)
    for name in (*names, *names):
        assert connections.run(name, f"echo {name}").stdout == f"{name}\n"
        assert sum(map(connections.is_open, names)) <= 3
    assert [connections.is_open(name) for name in names] == [False, False, True, True, True]
    assert server.logins() == 10


@FABRIC
def test_the_key_exchange_is_by_curve25519(site):
    """Alone, or within one that quantum computers do not break either; whatever else both sides know."""
    connections = site.connect(site.instance("web", site.sshd()))
    connections.open("web")
    offered = connections._hosts["web"].opened.connection.transport.get_security_options().kex
    first = next(name for name in offered if name != "mlkem768x25519-sha256")
    assert first == "curve25519-sha256@libssh.org"


@pytest.mark.parametrize("most", [1, 2])
def test_commands_that_an_sshd_gives_no_session_beside_others_get_connections_of_their_own(site, most):
    """`MaxSessions`: they were given up after three seconds, whatever the others took."""
    server = site.sshd(extra=f"MaxSessions {most}")
    connections = site.connect(site.instance("web", server))
    connections.run("web", "true")
    here = site.folder / "here"
    # Each waits until all are there.
    words = f"echo >>{here}; until [ $(wc -l <{here}) = 4 ]; do sleep 0.05; done; echo all"
    said = in_threads(4, lambda _: connections.run("web", words, timeout=60).stdout, range(4))
    assert said == ["all\n"] * 4
    assert connections.run("web", "true").exited == 0
    assert server.logins() == 1 + 4 - most
