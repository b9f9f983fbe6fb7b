"""Connections to real servers. One test for each trap of SSH, Fabric and paramiko that we know of."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fabric
import paramiko
import pytest
from conftest import descendants, eventually, public

from nixhive_nb.backend import opener
from nixhive_nb.backend.connections import Connections
from nixhive_nb.errors import ConnectionFailed, HostKeyError, LinkLost

pytestmark = pytest.mark.timeout(120)


DEBUG = "LogLevel DEBUG1"
"""For servers whose steps a test looks at. Not for those that run commands: it gets into their outputs."""


def in_threads(count, work, *arguments):
    """Run `work` in that many threads at once and give the results in order; errors are raised."""
    with ThreadPoolExecutor(max_workers=count) as pool:
        return list(pool.map(work, *arguments))


@contextlib.contextmanager
def eager_threads():
    """Let threads change places as often as can be, which brings races out."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


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


def test_a_command_ended_by_a_signal_is_a_result(site):
    connections = site.connect(site.instance("web", site.sshd()))
    assert connections.run("web", "kill -KILL $$").exited == 128 + signal.SIGKILL
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


def test_many_commands_at_once_on_one_host(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    connections.open("web")

    def work(number):
        return connections.run("web", f"echo {number}", stdin=None if number % 2 else b"x" * 200_000).stdout

    with eager_threads():
        results = in_threads(16, work, range(200))
    assert results == [f"{number}\n" for number in range(200)]
    # Never more sessions than a stock sshd allows, and no message to a session that has ended: both cost the link.
    assert server.logins() == 1


# Host keys


def test_a_changed_key_is_refused_before_any_login(site):
    server = site.sshd(keys=["host-new"], extra=DEBUG)
    connections = site.connect(site.instance("web", server, keys=["host-ed25519"]))
    with pytest.raises(HostKeyError) as caught:
        connections.run("web", "true")
    text = str(caught.value)
    assert f"host key of web (127.0.0.1:{server.port}) is SHA256:" in text
    assert "the deployment says SHA256:" in text
    assert "Nothing was sent." in text
    assert f'instances.web.hostKeys: "{public(site.keys["host-new"])}"' in text
    eventually(lambda: "Connection closed" in server.log() or "Connection reset" in server.log(), "the end")
    assert "userauth-request" not in server.log()


def test_an_unknown_key_is_refused(site):
    server = site.sshd()
    known = site.folder / "known"
    connections = site.connect(site.instance("web", server, keys=[], UserKnownHostsFile=known))
    with pytest.raises(HostKeyError) as caught:
        connections.run("web", "true")
    assert "which is not known" in str(caught.value)
    assert f'instances.web.hostKeys in the deployment: "{public(site.keys["host-ed25519"])}"' in str(caught.value)
    assert not known.exists(), "nothing is added silently"


@pytest.mark.parametrize("hashed", [False, True])
def test_the_users_known_hosts_are_honoured(site, hashed):
    server = site.sshd()
    known = site.folder / "known"
    known.write_text(f"[127.0.0.1]:{server.port} {public(site.keys['host-ed25519'])}\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
        assert "127.0.0.1" not in known.read_text()
    options = {"UserKnownHostsFile": known, "GlobalKnownHostsFile": "/dev/null"}
    # Our answer is the same whatever StrictHostKeyChecking says: never accept silently.
    connections = site.connect(site.instance("web", server, keys=[], StrictHostKeyChecking="no", **options))
    assert connections.run("web", "true").exited == 0

    known.write_text(f"[127.0.0.1]:{server.port} {public(site.keys['host-new'])}\n")
    connections.close("web")
    with pytest.raises(HostKeyError, match=r"known_hosts says SHA256:.*ssh-keygen -R"):
        connections.run("web", "true")


def test_a_key_without_the_port_and_one_by_alias(site):
    server = site.sshd()
    key = public(site.keys["host-ed25519"])
    known = site.folder / "known"
    known.write_text(f"127.0.0.1 {key}\nthe-alias {key}\n")
    plain = site.instance("plain", server, keys=[], UserKnownHostsFile=known)
    alias = site.instance("alias", server, keys=[], UserKnownHostsFile=known, HostKeyAlias="the-alias")
    other = site.instance("other", server, keys=[], UserKnownHostsFile=known, HostKeyAlias="no-such")
    connections = site.connect(plain, alias, other)
    assert connections.run("plain", "true").exited == 0
    assert connections.run("alias", "true").exited == 0
    with pytest.raises(HostKeyError, match="not known"):
        connections.run("other", "true")


def test_revoked_keys_and_authorities_of_known_hosts(site):
    server = site.sshd()
    key = public(site.keys["host-ed25519"])
    revoked, authority = site.folder / "revoked", site.folder / "authority"
    revoked.write_text(f"web {key}\n@revoked web {key}\n")
    authority.write_text(f"@cert-authority web {public(site.keys['host-new'])}\n")
    options = {"keys": [], "HostKeyAlias": "web"}
    connections = site.connect(
        site.instance("revoked", server, UserKnownHostsFile=revoked, **options),
        site.instance("authority", server, UserKnownHostsFile=authority, **options),
    )
    with pytest.raises(HostKeyError, match="marked as revoked"):
        connections.run("revoked", "true")
    with pytest.raises(HostKeyError, match="@cert-authority of known_hosts are not supported"):
        connections.run("authority", "true")


def test_two_keys_of_one_kind_while_keys_are_rotated(site):
    old, new = site.sshd(keys=["host-ed25519"]), site.sshd(keys=["host-new"])
    both = ["host-ed25519", "host-new"]
    connections = site.connect(site.instance("old", old, keys=both), site.instance("new", new, keys=both))
    assert connections.run("old", "true").exited == 0
    assert connections.run("new", "true").exited == 0


@pytest.mark.parametrize("kind", ["host-rsa", "host-ecdsa", "host-ed25519"])
def test_a_host_with_more_keys_shows_the_one_that_we_know(site, kind):
    server = site.sshd(keys=["host-ed25519", "host-ecdsa", "host-rsa"])
    connections = site.connect(site.instance("web", server, keys=[kind]))
    assert connections.run("web", "true").exited == 0


def test_hosts_that_swapped_their_keys(site):
    one, two = site.sshd(keys=["host-ed25519"]), site.sshd(keys=["host-new"])
    connections = site.connect(
        site.instance("one", one, keys=["host-new"]), site.instance("two", two, keys=["host-ed25519"])
    )
    for name in ("one", "two"):
        with pytest.raises(HostKeyError, match="the deployment says"):
            connections.run(name, "true")


# Logins


def test_a_refused_login_says_who_and_with_what(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server, user_key="user-rsa", User="root"))
    with pytest.raises(ConnectionFailed) as caught:
        connections.run("web", "true")
    assert "the login of user root was refused. Keys tried:" in str(caught.value)
    assert str(site.keys["user-rsa"]) in str(caught.value)


def test_a_key_with_a_passphrase_says_how_to_use_it(site):
    connections = site.connect(site.instance("web", site.sshd(), user_key="locked"))
    with pytest.raises(ConnectionFailed) as caught:
        connections.run("web", "true")
    assert f"{site.keys['locked']} has a passphrase: add it to ssh-agent (`ssh-add" in str(caught.value)


def test_without_any_key_it_says_so(site):
    connections = site.connect(site.instance("web", site.sshd(), user_key=None))
    with pytest.raises(ConnectionFailed, match="no key to try"):
        connections.run("web", "true")


def test_keys_of_the_agent(site, monkeypatch):
    server = site.sshd()
    sock = site.folder / "a"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
    try:
        eventually(sock.exists, "the agent")
        env = {**os.environ, "SSH_AUTH_SOCK": str(sock), "SSH_ASKPASS": "/bin/false"}
        site.keys["user"].chmod(0o600)
        subprocess.run(["ssh-add", "-q", str(site.keys["user"])], env=env, check=True, stdin=subprocess.DEVNULL)
        half = site.folder / "half.pub"
        half.write_text(public(site.keys["user"]) + "\n")
        only = {"user_key": None, "IdentityAgent": sock}
        connections = site.connect(
            site.instance("any", server, IdentitiesOnly="no", **only),
            site.instance("public-half", server, **{**only, "IdentityFile": half}),
            site.instance("only", server, **only),
            site.instance("off", server, user_key=None, IdentitiesOnly="no", IdentityAgent="none"),
            site.instance("environment", server, user_key=None, IdentitiesOnly="no"),
        )
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        for name in ("any", "public-half", "environment"):
            assert connections.run(name, "true").exited == 0
        for name in ("only", "off"):
            with pytest.raises(ConnectionFailed, match="no key to try"):
                connections.run(name, "true")
    finally:
        agent.kill()
        agent.wait()


def test_nothing_of_one_login_is_left_in_the_next(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    seen = []
    for _ in range(3):
        connections.open("web")
        connection = connections._hosts["web"].opened.connection
        seen.append(connection.connect_kwargs)
        assert "key_filename" not in connection.connect_kwargs
        assert connection.config.connect_kwargs == {}
        connections.close("web")
    assert len({id(kwargs) for kwargs in seen}) == len({id(kwargs["sock"]) for kwargs in seen}) == 3
    assert len({tuple(sorted(kwargs)) for kwargs in seen}) == 1


# What Fabric must not do


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


def test_nagle_is_off(site):
    connections = site.connect(site.instance("web", site.sshd()))
    connections.open("web")
    link = connections._hosts["web"].opened.link
    assert link.option(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert link.option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_an_idle_connection_costs_one_thread(site):
    server = site.sshd()
    names_before = {thread.name for thread in threading.enumerate()}
    names = [f"h{number}" for number in range(5)]
    connections = site.connect(*(site.instance(name, server) for name in names))
    for name in names:
        connections.run(name, "true")

    def ours():
        return [t for t in threading.enumerate() if isinstance(t, paramiko.Transport) or t.name == "hive-watchdog"]

    eventually(lambda: len(ours()) == 6, "one thread a connection, and one for all")
    others = {thread.name for thread in threading.enumerate()} - {thread.name for thread in ours()}
    assert others <= names_before


# Broken links


def test_a_stalled_server_ends_at_the_time_limit(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    connections.open("web")
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
    with pytest.raises(LinkLost, match=r"web: no answer in 0.5 s. What ran there may still run"):
        connections.run("web", "echo begun; sleep 60", timeout=0.5)
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
    connections.open("web")
    server.signal_sessions(signal.SIGKILL)
    # At once, perhaps before we have noticed, and again when it is certain.
    assert connections.run("web", "true").exited == 0
    server.signal_sessions(signal.SIGKILL)
    eventually(lambda: not connections.is_open("web"), "the end of the link")
    assert connections.run("web", "true").exited == 0
    assert server.logins() == 3


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
    transport = connections._hosts["web"].opened.connection.transport
    del connections
    gc.collect()
    eventually(lambda: not transport.is_alive(), "the end of the transport")


# Hosts that cannot be reached


def test_words_for_hosts_that_cannot_be_reached(site):
    server = site.sshd()
    with socket.socket() as unused, socket.socket() as other, socket.socket() as web:
        unused.bind(("127.0.0.1", 0))
        for listener in (other, web):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        connections = site.connect(
            site.instance("refused", server, Port=unused.getsockname()[1]),
            site.instance("nameless", server, Hostname="no-such-host.invalid"),
            site.instance("routeless", server, Hostname="203.0.113.1", BindAddress="127.0.0.1", ConnectTimeout=2),
            site.instance("other", server, Port=web.getsockname()[1], ConnectTimeout=5),
        )
        with pytest.raises(ConnectionFailed, match=r"refused \(127.0.0.1:\d+\) refuses the connection"):
            connections.run("refused", "true")
        with pytest.raises(ConnectionFailed, match=r"no address for the name no-such-host.invalid"):
            connections.run("nameless", "true")
        with pytest.raises(ConnectionFailed, match=r"routeless \(203.0.113.1:\d+\) (cannot be reached|did not answer)"):
            connections.run("routeless", "true")

        def speak():
            made, _ = web.accept()
            with made:
                made.sendall(b"HTTP/1.1 400 \x1b[31mBad\r\n" * 200)
                made.recv(1000)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(speak)
            with pytest.raises(ConnectionFailed) as caught:
                connections.run("other", "true")
        assert "\x1b" not in str(caught.value)


def test_a_server_that_drops_logins_is_tried_again(site):
    server = site.sshd(extra="MaxStartups 2:100:2")
    names = [f"h{number}" for number in range(12)]
    connections = site.connect(*(site.instance(name, server) for name in names))
    assert [result.exited for result in in_threads(12, lambda name: connections.run(name, "true"), names)] == [0] * 12


def test_a_refused_login_is_not_tried_again(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server, user_key="user-rsa"))
    with pytest.raises(ConnectionFailed):
        connections.run("web", "true")
    assert server.log().count("Connection from") == 1


def test_a_host_that_always_hangs_up(site, monkeypatch):
    monkeypatch.setattr(opener, "_TRIES", 3)
    with socket.socket() as rude:
        rude.bind(("127.0.0.1", 0))
        rude.listen()
        rude.settimeout(20)
        accepted = []

        def hang_up():
            while len(accepted) < 3:
                made, address = rude.accept()
                accepted.append(address)
                made.close()

        connections = site.connect(site.instance("web", site.sshd(), Port=rude.getsockname()[1]))
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(hang_up)
            with pytest.raises(ConnectionFailed, match=r"hung up before the login.*tried 3 times"):
                connections.run("web", "true")
            done.result(20)
        assert len(accepted) == 3


# Jump hosts


def forwards(server):
    """Where a server was asked to connect to, as `host port NUMBER`."""
    return [
        line.partition("originator")[2].split("target ")[1].strip()
        for line in server.log().splitlines()
        if "server_request_direct_tcpip: originator" in line
    ]


def jump_process(connections):
    """The number of the one `ssh` that leads to a jump host."""
    (chain,) = connections._opener._jumps._chains.values()
    (found,) = [pid for pid in descendants(chain._process.pid) if command(pid).startswith("ssh ")]
    return found


def command(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def test_a_jump_host_serves_many_threads(site):
    jump, target = site.sshd(address="127.0.0.2", extra=DEBUG), site.sshd(address="127.0.0.3", extra="MaxStartups 100")
    names = [f"h{number}" for number in range(24)]
    hosts = [site.instance(name, target, ProxyJump="jump") for name in names]
    connections = site.connect(site.instance("jump", jump), *hosts)
    assert in_threads(16, lambda name: connections.run(name, f"echo {name}").stdout, names) == [
        f"{name}\n" for name in names
    ]
    assert jump.logins() == 1, "one process for all"
    assert forwards(jump) == [f"127.0.0.3 port {target.port}"] * 24
    limits = Path(f"/proc/{jump_process(connections)}/limits").read_text()
    (files,) = [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")]
    assert files[0] == files[1], "two files a host: the usual limit of 1,024 is not enough"
    assert all(link.broken is False for link in (connections._hosts[name].opened.link for name in names))


@pytest.mark.parametrize("written", ["as a list", "one in the other"])
def test_chains_go_the_way_that_openssh_goes(site, written):
    target = site.sshd(address="127.0.0.4")
    second = site.sshd(address="127.0.0.3", extra=DEBUG + f"\nPermitOpen 127.0.0.4:{target.port}")
    first = site.sshd(address="127.0.0.2", extra=DEBUG + f"\nPermitOpen 127.0.0.3:{second.port}")
    nested = written != "as a list"
    instances = [
        site.instance("first", first),
        site.instance("second", second, ProxyJump="first" if nested else None),
        site.instance("web", target, ProxyJump="second" if nested else "first,second"),
    ]
    inventory, files = site.files(*instances)
    done = subprocess.run(
        ["ssh", "-F", str(files.batch), "web", "echo openssh"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.stdout == "openssh\n", done.stderr
    with Connections(inventory, files) as connections:
        assert connections.run("web", "echo fabric").stdout == "fabric\n"
    # OpenSSH asks the first for the second and the second for the target; paramiko would do the reverse.
    assert forwards(first) == [f"127.0.0.3 port {second.port}"] * 2
    assert forwards(second) == [f"127.0.0.4 port {target.port}"] * 2


def test_a_jump_with_user_and_port(site):
    jump, target = site.sshd(address="127.0.0.2", extra=DEBUG), site.sshd(address="127.0.0.3")
    connections = site.connect(
        site.instance("jump", jump, Port=1, User="nobody"),
        site.instance("web", target, ProxyJump=f"root@jump:{jump.port}"),
    )
    assert connections.run("web", "echo there").stdout == "there\n"


def test_equal_addresses_behind_different_jumps_are_not_mixed_up(site):
    # Two networks with one and the same address in them: each jump host sees another server there.
    target = site.sshd(address="127.0.0.4")
    left, right = site.sshd(address="127.0.0.2", extra=DEBUG), site.sshd(address="127.0.0.3", extra="PermitOpen none")
    connections = site.connect(
        site.instance("left", left),
        site.instance("right", right),
        site.instance("a", target, ProxyJump="left"),
        site.instance("b", target, ProxyJump="right"),
    )
    assert connections.run("a", "true").exited == 0
    with pytest.raises(ConnectionFailed, match="cannot be reached from right: administratively prohibited"):
        connections.run("b", "true")
    assert connections.is_open("a")
    assert not connections.is_open("b")
    assert len(forwards(left)) == 1


def test_a_host_that_its_jump_host_cannot_reach(site):
    jump, target = site.sshd(address="127.0.0.2", extra=DEBUG), site.sshd(address="127.0.0.3")
    target.stop()
    connections = site.connect(site.instance("jump", jump), site.instance("web", target, ProxyJump="jump"))
    with pytest.raises(ConnectionFailed, match=r"web \(127.0.0.3:\d+\) cannot be reached from jump: .*[Rr]efused"):
        connections.run("web", "true")


def test_a_jump_host_that_is_down(site):
    jump, target = site.sshd(address="127.0.0.2", extra=DEBUG), site.sshd(address="127.0.0.3")
    jump.stop()
    names = [f"h{number}" for number in range(8)]
    hosts = [site.instance(name, target, ProxyJump="jump") for name in names]
    connections = site.connect(site.instance("jump", jump), *hosts)

    def reach(name):
        with pytest.raises(ConnectionFailed, match=f"{name} is behind a jump host .*jump: .*Connection refused"):
            connections.run(name, "true")

    in_threads(8, reach, names)


def test_a_jump_host_with_another_key(site):
    jump, target = site.sshd(address="127.0.0.2", keys=["host-new"], extra=DEBUG), site.sshd(address="127.0.0.3")
    connections = site.connect(site.instance("jump", jump), site.instance("web", target, ProxyJump="jump"))
    with pytest.raises(HostKeyError, match=r"web is behind a jump host .*jump.* is not accepted: .*SHA256"):
        connections.run("web", "true")
    assert "userauth-request" not in jump.log()


def test_a_jump_process_that_died_is_started_anew(site):
    jump, target = site.sshd(address="127.0.0.2", extra=DEBUG), site.sshd(address="127.0.0.3")
    connections = site.connect(site.instance("jump", jump), site.instance("web", target, ProxyJump="jump"))
    connections.run("web", "true")
    os.kill(jump_process(connections), signal.SIGKILL)
    eventually(lambda: not connections.is_open("web"), "the end of the link")
    assert connections.run("web", "true").exited == 0
    assert jump.logins() == 2


def test_the_sockets_of_a_jump_are_for_us_alone(site):
    jump, target = site.sshd(address="127.0.0.2", extra=DEBUG), site.sshd(address="127.0.0.3")
    connections = site.connect(site.instance("jump", jump), site.instance("web", target, ProxyJump="jump"))
    connections.run("web", "true")
    folder = connections._opener._jumps._folder
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0 or path.name == "log", path
    assert folder.stat().st_mode & 0o777 == 0o700


def test_closing_leaves_nothing_behind(site):
    jump, target = site.sshd(address="127.0.0.2", extra=DEBUG), site.sshd(address="127.0.0.3")
    before = set(descendants(os.getpid()))
    connections = site.connect(
        site.instance("jump", jump),
        site.instance("web", target, ProxyJump="jump"),
        site.instance("proxied", target, ProxyCommand=_connect_program(target)),
    )
    connections.run("web", "true")
    connections.run("proxied", "true")
    folder = connections._opener._jumps._folder
    assert folder.exists()
    server_side = {pid for server in (jump, target) for pid in descendants(server.process.pid)}
    assert set(descendants(os.getpid())) - before - server_side, "there is something to leave"
    connections.close_all()
    assert not folder.exists()
    eventually(lambda: set(descendants(os.getpid())) <= before, "the end of all processes")
    eventually(lambda: not [t for t in threading.enumerate() if isinstance(t, paramiko.Transport)], "the threads")


@pytest.mark.parametrize("way", ["exit", "kill"])
def test_leaving_python_leaves_no_process(site, way):
    jump, target = site.sshd(address="127.0.0.2", extra=DEBUG), site.sshd(address="127.0.0.3")
    _, files = site.files(site.instance("jump", jump), site.instance("web", target, ProxyJump="jump"))
    keys = public(site.keys["host-ed25519"])
    code = f"""
import os, sys
from pathlib import Path
from nixhive_nb.backend.connections import Connections
from nixhive_nb.backend.ssh_config import SshFiles
from nixhive_nb.deployment.inventory import Instance, Inventory
folder = Path({str(files.folder)!r})
files = SshFiles(folder=folder, config=folder / "config", batch=folder / "batch", known_hosts=folder / "known_hosts")
web = Instance(name="web", system="s", host_keys=({keys!r},))
connections = Connections(Inventory(source="t", instances={{"web": web}}), files)
print(connections.run("web", "echo there").stdout, end="")
(chain,) = connections._opener._jumps._chains.values()
print(chain._process.pid, connections._opener._jumps._folder, flush=True)
if {way!r} == "kill":
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == (0 if way == "exit" else -signal.SIGKILL), done.stderr
    assert done.stderr == ""
    there, session, folder = done.stdout.split()
    assert there == "there"
    eventually(lambda: not members(int(session)), "the end of the jump process and its watcher")
    assert Path(folder).exists() == (way == "kill")
    shutil.rmtree(folder, ignore_errors=True)


def members(session):
    """The processes of a session."""
    found = subprocess.run(["ps", "-o", "pid=", "-s", str(session)], capture_output=True, text=True, check=False)
    return found.stdout.split()


# ProxyCommand


def _connect_program(server):
    script = (
        "import os,socket,threading;"
        f"s=socket.create_connection(('{server.address}',{server.port}));"
        "threading.Thread(target=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,65536),b'')],daemon=True).start();"
        "[os.write(1,d) for d in iter(lambda:s.recv(65536),b'')]"
    )
    return f'{sys.executable} -c "{script}"'


def test_a_proxy_command(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server, ProxyCommand=_connect_program(server)))
    assert connections.run("web", "cat", stdin="x" * 300_000).stdout == "x" * 300_000


def test_a_proxy_command_that_fails_says_why(site):
    server = site.sshd()
    failing = site.instance("web", server, ProxyCommand="sh -c 'echo no way to %h >&2; exit 1'")
    with pytest.raises(ConnectionFailed, match=r"Its ProxyCommand says: no way to 127\.0\.0\.1"):
        site.connect(failing).run("web", "true")
