"""The way to a host: out of reach, through jump hosts, by a command of the user."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import paramiko
import pytest

from nixhive_nb.errors import ConnectionFailed, HostKeyError
from nixhive_nb.ssh import opener
from nixhive_nb.ssh.pool import Connections
from nixhive_nb.util import process
from tests import ssh_keys
from tests.sshd import DEBUG, FABRIC, descendants, eventually, in_threads, is_running, public

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]


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


@FABRIC
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
    return chain._process.pid


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


@pytest.mark.parametrize(("limit", "least", "most"), [(1, 5, 5), (8, 5, 8), (60, 10, 10)])
def test_why_a_host_cannot_be_reached_is_asked_within_the_time_of_its_login(site, monkeypatch, limit, least, most):
    """Not for ten seconds more: a deploy with one host that is off waited that long, in its survey and once more."""
    jump, target = site.sshd(address="127.0.0.2", extra=DEBUG), site.sshd(address="127.0.0.3")
    target.stop()
    asked, run = [], process.run

    def watched(argv, **how):
        asked.extend([how["timeout"]] if "-W" in argv else [])
        return run(argv, **how)

    monkeypatch.setattr(process, "run", watched)
    hosts = (site.instance("jump", jump), site.instance("web", target, ProxyJump="jump"))
    connections = site.connect(*hosts, connect_timeout=limit)
    with pytest.raises(ConnectionFailed, match=r"web \(127.0.0.3:\d+\) cannot be reached from jump: .*[Rr]efused"):
        connections.run("web", "true")
    assert len(asked) == 1
    assert least <= asked[0] <= most


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


@pytest.mark.parametrize("left", [True, False], ids=["refuses", "is gone"])
def test_a_socket_of_a_jump_process_that_is_dead_says_nothing_of_the_host_behind(site, left):
    """After a reboot of the jump host the socket could be found dead a moment before its process was."""
    jump, target = site.sshd(address="127.0.0.2"), site.sshd(address="127.0.0.3")
    connections = site.connect(site.instance("jump", jump), site.instance("web", target, ProxyJump="jump"))
    connections.run("web", "true")
    (chain,) = connections._opener._jumps._chains.values()
    (way,) = chain._forwards.values()
    way.unlink()
    if left:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(way))
    target.signal_sessions(signal.SIGKILL)
    eventually(lambda: not connections.is_open("web"), "the end of the link")
    assert connections.run("web", "true").exited == 0


def test_a_jump_process_that_is_gone_is_asked_for_nothing(site):
    """ssh would connect by itself then, to whatever is named as the process is addressed."""
    jump, target = site.sshd(address="127.0.0.2"), site.sshd(address="127.0.0.3")
    connections = site.connect(site.instance("jump", jump), site.instance("web", target, ProxyJump="jump"))
    connections.run("web", "true")
    (chain,) = connections._opener._jumps._chains.values()
    chain._control.unlink()
    aim = connections._opener._resolve("web")
    assert chain.why_closed(aim, 10) == ""
    ended = process.run([*chain._master(), "-v", "-W", "127.0.0.3:1", "--", "jump"])
    assert "Executing proxy command: exec false" in ended.stderr
    assert "Connecting to jump" not in ended.stderr


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
    process.run(["true"])  # the shell that minds our programs stays
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
from nixhive_nb.ssh.pool import Connections
from nixhive_nb.ssh.config import SshFiles
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


def test_sockets_that_somebody_has_cleaned_up_are_made_anew_and_who_is_connected_stays_so(site):
    """Case 14, of the folder of a jump host."""
    jump, one, two = site.sshd(), site.sshd(), site.sshd()
    connections = site.connect(
        site.instance("gate", jump),
        site.instance("one", one, ProxyJump="gate"),
        site.instance("two", two, ProxyJump="gate"),
    )
    assert connections.run("one", "true").exited == 0
    (folder,) = {chain._folder.parent for chain in connections._opener._jumps._chains.values()}
    shutil.rmtree(folder)
    shutil.rmtree(site.folder / "ssh")
    assert connections.run("two", "true").exited == 0
    assert connections.run("one", "true").exited == 0
    assert (one.logins(), two.logins()) == (1, 1)
    (chain,) = connections._opener._jumps._chains.values()
    pids = [chain._process.pid, *(process.pid for process in chain._cut_off)]
    assert len(pids) == 2
    connections.close_all()
    assert not [pid for pid in pids if is_running(pid)]


def test_a_jump_host_that_an_authority_vouches_for(site):
    authority, key = (ssh_keys.make(site.folder / name) for name in ("ca", "gate-key"))
    site.keys["gate-key"] = key
    certificate = ssh_keys.sign(authority, key, "-h", "-n", "127.0.0.1")
    gate, inner = site.sshd(keys=["gate-key"], extra=f"HostCertificate {certificate}"), site.sshd()
    vouched = msgspec.structs.replace(site.instance("gate", gate, keys=[]), host_cas=(public(authority),))
    connections = site.connect(vouched, site.instance("inner", inner, ProxyJump="gate"))
    assert connections.run("inner", "true").exited == 0
