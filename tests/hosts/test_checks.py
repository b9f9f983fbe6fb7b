"""Checks against real servers on this machine, from here and through a real sshd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixhive_nb.deployment.inventory import Check
from nixhive_nb.errors import ConnectionFailed, LinkLost
from nixhive_nb.hosts.checks import describe, longest, run_checks
from nixhive_nb.ssh.config import SESSIONS
from nixhive_nb.ssh.fabric_links import FabricLinks
from nixhive_nb.ssh.link import RemoteResult
from nixhive_nb.testing.clock import VirtualClock
from tests.sshd import BOTH, eventually, is_running

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]
CARRIERS = BOTH


class Web(ThreadingHTTPServer):
    """Answers with the statuses that it is told, the last one again and again."""

    daemon_threads = True

    def __init__(self, *statuses):
        super().__init__(("127.0.0.1", 0), Page)
        self.statuses = list(statuses)
        self.questions = []
        self.url = f"http://localhost:{self.server_port}"


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.questions.append((self.path, self.headers["Host"]))
        status = server.statuses.pop(0) if len(server.statuses) > 1 else server.statuses[0]
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "1000000000")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(b"the beginning of a page that never ends")

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def web():
    """Start web servers."""
    with contextlib.ExitStack() as stack:

        def start(*statuses, context=None):
            server = stack.enter_context(Web(*statuses))
            if context is not None:
                server.socket = context.wrap_socket(server.socket, server_side=True)
                server.url = server.url.replace("http:", "https:")
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def silent():
    """A server that accepts and says nothing; `accepted` are its connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], accepted
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in accepted:
            one.close()


@pytest.fixture
def closed_port():
    """A port that is ours and on which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def server(site):
    return site.sshd()


@pytest.fixture
def reach(site, server):
    """The kept line to an instance on this machine."""
    connections = site.connect(site.instance("web", server))
    connections.open("web")
    lines = FabricLinks(connections)
    return lines.kept("web")


class Unreachable:
    """An instance that no way leads to. Checks from here need none."""

    address = "127.0.0.1"

    def __init__(self, error=None):
        self.error = error or ConnectionFailed("web did not answer.")
        self.room = asyncio.Semaphore(SESSIONS)

    async def run(self, words, *, seconds):
        raise self.error

    def dial(self, host, port, seconds):
        raise self.error


HERE = Unreachable()


def check(kind, **fields):
    return Check(name=kind, kind=kind, **{"period": 0.02, "timeout": 60.0, **fields})


def run(checks, reach=HERE, **options):
    return asyncio.run(run_checks(checks, reach, **options))


def one(checked, reach=HERE):
    (result,) = run([checked], reach)
    return result


def once(checked, reach=HERE):
    """How a check goes whose time is over after the first try."""
    skipped = []

    async def skip(_seconds):
        skipped.append(checked.timeout)

    (result,) = run([checked], reach, clock=lambda: time.monotonic() + sum(skipped), sleep=skip)
    assert result.tries == 1
    return result


async def until(condition):
    """Wait for a condition while a task of the same loop works."""
    await asyncio.to_thread(eventually, condition)


# Commands


def test_a_command_holds_when_it_ends_with_0(reach):
    result = one(check("command", command=("test", "a b", "=", "a b"), description="words"), reach)
    assert (result.ok, result.reason, result.tries) == (True, "", 1)
    assert (result.name, result.kind, result.description) == ("command", "command", "words")


def test_a_command_that_fails_is_told_with_its_status_and_last_words(reach):
    script = "echo first >&2; printf 'it \\033[31mbroke\\033[0m\\n\\n' >&2; exit 3"
    result = once(check("command", command=("sh", "-c", script)), reach)
    assert (result.ok, result.reason) == (False, "ended with 3: it broke")


def test_a_command_is_tried_again_until_it_holds(reach, tmp_path):
    script = f"echo x >>{tmp_path}/tries; test $(wc -l <{tmp_path}/tries) -ge 3"
    result = one(check("command", command=("sh", "-c", script)), reach)
    assert (result.ok, result.reason, result.tries) == (True, "", 3)


def test_a_command_that_hangs_is_let_go_and_ended_on_the_host_and_the_connection_stays(reach, server, tmp_path):
    script = f"echo $$ >{tmp_path}/pid; exec sleep 600"
    result = one(check("command", command=("sh", "-c", script), timeout=0.4), reach)
    assert (result.ok, result.reason, result.tries) == (False, "no answer within 0.4 s", 1)
    assert one(check("command", command=("true",)), reach).ok
    assert server.logins() == 1
    hanging = int((tmp_path / "pid").read_text())
    eventually(lambda: not is_running(hanging), "the end of the command")


def test_all_checks_of_an_instance_run_at_once_and_keep_their_order(reach, tmp_path):
    for name in "ab":
        os.mkfifo(tmp_path / name)
    # Each waits for the other.
    ways = {"first": "echo >a; read _ <b", "second": "read _ <a; echo >b"}
    checks = [
        Check(name=name, kind="command", command=("sh", "-c", f"cd {tmp_path}; {words}"), timeout=60)
        for name, words in ways.items()
    ]
    results = run(checks, reach)
    assert [(result.name, result.ok, result.tries) for result in results] == [("first", True, 1), ("second", True, 1)]


def test_an_instance_out_of_reach_is_the_result_of_its_checks_and_not_an_error():
    for error in (ConnectionFailed("web did not answer."), LinkLost("web: it broke.")):
        for kind in (check("command", command=("true",)), check("units"), check("tcp", port=1)):
            result = once(kind, Unreachable(error))
            assert (result.ok, result.reason) == (False, str(error))


# Time


class Taking:
    """An instance whose checks take so many seconds each: their command is the number."""

    def __init__(self):
        self.room = asyncio.Semaphore(SESSIONS)

    async def run(self, words, *, seconds):
        await asyncio.sleep(float(words.split()[-1]))
        return RemoteResult(exited=0, stdout="", stderr="", seconds=0)


@given(st.lists(st.tuples(st.floats(0.1, 30), st.floats(0.1, 0.9)), max_size=60))
def test_a_check_that_needs_less_than_its_time_holds_however_many_there_are(asked):
    """D1: its clock begins when it does, and not while it waits for a session; the host waits as long as all take."""
    checks = [
        Check(name=str(number), kind="command", command=(str(timeout * share),), timeout=timeout)
        for number, (timeout, share) in enumerate(asked)
    ]
    clock = VirtualClock()

    async def all_of_them():
        return await run_checks(checks, Taking(), clock=clock.time)

    with asyncio.Runner(loop_factory=clock.loop) as runner:
        results = runner.run(all_of_them())
    assert [(result.name, result.reason) for result in results if not result.ok] == []
    assert clock.elapsed <= longest(checks)


def test_more_checks_than_a_connection_has_sessions_hold_on_a_real_host(reach):
    """D1."""
    checks = [
        Check(name=str(number), kind="command", command=("sleep", "1"), timeout=2.5) for number in range(3 * SESSIONS)
    ]
    assert {result.reason for result in run(checks, reach)} == {""}


HELD = "failed: a.service (it had held for {} s, and must for 10 s)"


@pytest.mark.parametrize(
    ("answers", "ok", "seconds", "reason"),
    [
        ([""], True, 9.5, ""),
        (["", "", "a"], False, 20.0, HELD),
        (["a", "a", "", "", "", "", "", ""], True, 13.5, ""),
        (["", "a", "", "", "", "", "", ""], True, 13.5, ""),
        (["", "", "", "", "a"], False, 20.0, HELD),
        (["", "", "", "", "", "a"], False, 9.5, HELD),
        (["slow"], True, 12.0, ""),
        (["", "hang"], False, 6.0, "no answer within 4 s (it had held for 6.0 s, and must for 10 s)"),
    ],
    ids=["holds", "crashes", "late", "flaps", "dies late", "dies at the end", "slow", "hangs"],
)
def test_a_check_may_have_to_hold_for_a_while(answers, ok, seconds, reason):
    """A12, case 23: at every try; where there is time left, it may begin anew."""
    clock, tries = VirtualClock(), []

    class Site(Unreachable):
        async def run(self, words, *, seconds):
            tries.append(clock.elapsed)
            answer = answers[min(len(tries), len(answers)) - 1]
            await asyncio.sleep({"slow": 1.5, "hang": 60}.get(answer, 0))
            said = f"systemd=yes\nfailed={'a.service' if answer == 'a' else ''}\n"
            return RemoteResult(exited=0, stdout=said, stderr="", seconds=0.0)

    one = check("units", period=2.0, timeout=4.0 if "hang" in answers else 20.0, hold=10.0)
    with asyncio.Runner(loop_factory=clock.loop) as runner:
        (result,) = runner.run(run_checks([one], Site(), clock=clock.time))
    assert result.ok is ok
    assert result.tries == len(tries)
    assert clock.elapsed <= longest([one])
    if ok or "hang" in answers:
        assert result.seconds == pytest.approx(seconds)
    assert re.fullmatch(re.escape(reason).replace(r"\{\}", r"[\d.]+"), result.reason)


def test_a_check_that_must_hold_for_a_while_says_so():
    assert describe(check("units", hold=15.0)) == "units for 15 s"


def test_tries_come_every_period_and_the_last_one_shortly_before_the_end():
    now, slept = [0.0], []

    async def sleep(seconds):
        slept.append(round(seconds, 3))
        now[0] += seconds

    (result,) = run([check("units", period=2, timeout=5)], clock=lambda: now[0], sleep=sleep)
    assert slept == [2, 2, 0.5]
    assert (result.tries, result.seconds) == (4, 4.5)


def test_a_try_that_is_cut_short_does_not_hide_what_was_found_before(reach, tmp_path):
    script = f"test -e {tmp_path}/tried && exec sleep 20; touch {tmp_path}/tried; echo wrong >&2; exit 9"
    result = one(check("command", command=("sh", "-c", script), period=0.05, timeout=3), reach)
    assert (result.reason, result.tries) == ("ended with 9: wrong", 2)


def test_no_checks_have_no_results():
    assert run([]) == ()


# http


@pytest.fixture(params=["here", "instance"])
def way(request):
    """From where a check connects: its options, and how the instance is reached."""
    if request.param == "here":
        return {"here": True}, HERE
    return {}, request.getfixturevalue("reach")


def test_http_holds_when_the_status_is_the_expected_one(way, web):
    options, reach = way
    server = web(204)
    assert one(check("http", url=f"{server.url}/a%20b?q=1", expect=204, **options), reach).ok
    assert server.questions == [("/a%20b?q=1", f"localhost:{server.server_port}")]


def test_http_is_asked_again_until_the_status_is_right(way, web):
    options, reach = way
    result = one(check("http", url=web(503, 502, 200).url, **options), reach)
    assert (result.ok, result.tries) == (True, 3)


def test_another_status_is_told_and_no_redirect_is_followed(way, web):
    options, reach = way
    server = web(302)
    result = once(check("http", url=server.url, **options), reach)
    assert (result.ok, result.reason) == (False, "answered 302, not 200")
    assert {path for path, _ in server.questions} == {"/"}
    assert one(check("http", url=server.url, expect=302, **options), reach).ok


def test_a_proxy_of_this_machine_is_not_asked(web, monkeypatch, closed_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    assert one(check("http", url=web(200).url, here=True)).ok


def test_a_server_that_says_nothing_is_given_up_and_hung_up_on(way, silent):
    options, reach = way
    port, accepted = silent
    result = one(check("http", url=f"http://127.0.0.1:{port}/", timeout=0.5, **options), reach)
    assert (result.ok, result.reason) == (False, "no answer within 0.5 s")
    assert_hung_up(accepted)


def assert_hung_up(accepted):
    (connection,) = accepted
    connection.settimeout(20)
    while connection.recv(1000):
        pass


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "http://{} closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "http://{} does not speak http: BadStatusLine('SSH-2.0-OpenSSH\\r\\n')"),
    ],
)
def test_what_is_no_answer_is_told(way, answer, reason):
    options, reach = way
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            made, _ = server.accept()
            with made:
                made.recv(1000)
                made.sendall(answer)

        where = f"127.0.0.1:{server.getsockname()[1]}"
        thread = threading.Thread(target=serve)
        thread.start()
        result = once(check("http", url=f"http://{where}", **options), reach)
        thread.join()
    assert (result.ok, result.reason) == (False, reason.format(where))


@pytest.mark.parametrize("url", ["ftp://localhost/", "http://localhost:99999/", "http:///x", "http://[/"])
def test_a_url_that_cannot_be_asked_fails_its_check(url):
    result = once(check("http", url=url, here=True))
    assert not result.ok
    assert result.reason.startswith(url)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "cert.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", str(made)),
            *("-keyout", str(folder / "key.pem")),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, folder / "key.pem")
    return made, context


def test_https_holds_with_a_certificate_that_this_machine_accepts(way, web, certificate, monkeypatch):
    options, reach = way
    made, context = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    server = web(200, context=context)
    result = one(check("http", url=f"{server.url}/x", **options), reach)
    assert (result.ok, result.reason) == (True, "")
    assert server.questions == [("/x", f"localhost:{server.server_port}")]


def test_a_certificate_that_is_not_accepted_is_told(way, web, certificate):
    options, reach = way
    server = web(200, context=certificate[1])
    result = once(check("http", url=server.url, **options), reach)
    assert (result.ok, result.reason) == (
        False,
        f"the certificate of {server.url} is not accepted here: self-signed certificate",
    )


def test_a_certificate_for_another_name_is_told(web, certificate, monkeypatch):
    made, context = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    url = web(200, context=context).url.replace("localhost", "127.0.0.1")
    assert "IP address mismatch" in once(check("http", url=url, here=True)).reason


def test_https_where_nobody_speaks_it_is_told(way, web):
    options, reach = way
    url = web(200).url.replace("http:", "https:")
    result = once(check("http", url=url, **options), reach)
    assert (result.ok, result.reason.startswith(f"{url} and TLS: ")) == (False, True)


# tcp


def test_tcp_holds_where_something_accepts(way, silent):
    options, reach = way
    port, accepted = silent
    assert one(check("tcp", port=port, **options), reach).ok
    eventually(lambda: accepted)
    assert_hung_up(accepted)


def test_tcp_from_here_tells_where_nothing_accepts(closed_port):
    result = once(check("tcp", port=closed_port, here=True))
    assert (result.ok, result.reason) == (False, f"nothing accepts on 127.0.0.1:{closed_port}")


def test_tcp_from_the_instance_tells_where_nothing_accepts(reach, closed_port):
    result = once(check("tcp", port=closed_port), reach)
    assert not result.ok
    assert f"no connection to localhost:{closed_port}: nothing listens there" in result.reason


def test_an_sshd_that_forwards_nothing_is_told(site, silent):
    connections = site.connect(site.instance("web", site.sshd(extra="AllowTcpForwarding no")))
    lines = FabricLinks(connections)
    result = once(check("tcp", port=silent[0]), lines.kept("web"))
    assert not result.ok
    assert "AllowTcpForwarding" in result.reason


# Units


SYSTEMCTL = """#!/bin/sh
cat "$0.says"
"""


@pytest.fixture
def systemd(site, tmp_path):
    """An instance with the marker of systemd, where `systemctl` says what it is told: systemd cannot run here."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    # Its /run is its own, from here on.
    server = site.sshd(extra=f"SetEnv PATH={program.parent}:/usr/bin:/bin")
    spaces = ["nsenter", f"--target={server.process.pid}", "--mount"]
    marker = "mount -t tmpfs none /run && mkdir -p /run/sshd /run/systemd/system"
    subprocess.run([*spaces, "sh", "-c", marker], check=True)
    lines = FabricLinks(site.connect(site.instance("web", server)))

    def says(text):
        program.with_name("systemctl.says").write_text(text)
        return lines.kept("web")

    return says


def test_units_hold_where_none_failed(systemd):
    assert one(check("units"), systemd("")).ok


def test_failed_units_are_named(systemd):
    reach = systemd("nginx.service loaded failed failed Web\nb\x1b[2Jackup.timer loaded failed failed x\n")
    result = once(check("units"), reach)
    assert (result.ok, result.reason) == (False, "failed: nginx.service, backup.timer")


def test_units_fail_where_systemd_does_not_run(site, systemd, tmp_path):
    reach = systemd("")
    subprocess.run(
        ["nsenter", f"--target={site.servers[0].process.pid}", "--mount", "rmdir", "/run/systemd/system"], check=True
    )
    result = once(check("units"), reach)
    assert (result.ok, result.reason) == (False, "systemd does not run there")


# Cancelling


def test_cancelling_ends_at_once_and_closes_what_was_open(way, silent):
    options, reach = way
    port, accepted = silent

    async def cancel_when_asked():
        work = asyncio.ensure_future(run_checks([check("http", url=f"http://127.0.0.1:{port}/", **options)], reach))
        await until(lambda: accepted)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(cancel_when_asked())
    assert_hung_up(accepted)
    eventually(lambda: not any(thread.name.startswith("hive-check") for thread in threading.enumerate()))


def test_cancelling_ends_the_pause_between_tries():
    async def cancel_in_the_pause():
        paused = asyncio.Event()

        async def sleep(_seconds):
            paused.set()
            await asyncio.Event().wait()

        work = asyncio.ensure_future(run_checks([check("units")], HERE, sleep=sleep))
        await paused.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(cancel_in_the_pause())


# Words


@pytest.mark.parametrize(
    ("checked", "words"),
    [
        (check("http", url="http://localhost/"), "http http://localhost/ = 200"),
        (check("http", url="https://x/", expect=301, here=True), "http https://x/ = 301 from here"),
        (check("tcp", port=22), "tcp 22"),
        (check("tcp", port=22, here=True), "tcp 22 from here"),
        (check("command", command=("sh", "-c", "a b\x1b[2J")), "command sh -c 'a b'"),
        (check("units"), "units"),
    ],
)
def test_a_check_in_a_few_words(checked, words):
    assert describe(checked) == words
