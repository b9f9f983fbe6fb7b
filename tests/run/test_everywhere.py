"""A command on many hosts: who is told what, and what comes of an interrupt; with hosts that do as a test says."""

from __future__ import annotations

import gc
import math
import signal
import stat
import threading
import weakref
from pathlib import Path

import pytest

from nixhive_nb.errors import ConnectionFailed, LinkLost, OptionError
from nixhive_nb.frames import run_failures, run_frame
from nixhive_nb.hosts.command import errand_of
from nixhive_nb.run.everywhere import Listener, OutputLogs, failed, run_everywhere, untried
from nixhive_nb.ssh.call import Call
from nixhive_nb.ssh.link import RemoteResult
from nixhive_nb.util.workers import Workers

ERRAND = errand_of("uptime")


class Hosts:
    """Stands where `Connections` does. A host does what its function says, and waits for nobody without one."""

    def __init__(self, **does):
        self._does = does
        self._lock = threading.Lock()
        self.aborted = []
        self.workers = Workers("hosts")
        self.now = self.most = 0

    def run(self, instance, command, *, stdin, timeout, on_call, ending):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            call = Call(stdin, None, ending=ending)
            on_call(call)
            does = self._does.get(instance.replace("-", "_"))
            status = does(call) if does else 0
            out, err = call.stdout.text(), call.stderr.text()
            return RemoteResult(exited=status or 0, stdout=out, stderr=err, seconds=0.1)
        finally:
            with self._lock:
                self.now -= 1

    def expect(self, names):
        """Hear of them."""

    def is_open(self, instance):
        return True

    def abort(self, instance):
        self.aborted.append(instance)


class Heard(Listener):
    def __init__(self):
        self.names, self.begun, self.lines, self.rows = [], [], [], []

    def hosts(self, names, what):
        self.names, self.what = list(names), what

    def began(self, instance):
        self.begun.append(instance)

    def said(self, instance, stream, line):
        self.lines.append((instance, stream, line))

    def ended(self, row):
        self.rows.append(row)


def say(text, status=0, *, stream="stdout"):
    def does(call):
        getattr(call, stream).feed(text.encode(), last=True)
        return status

    return does


def hang(begun):
    """Say something and go on until the run ends it, as `Connections.run` then tells."""

    def does(call):
        ended = threading.Event()
        call.end = lambda reason: (setattr(call, "reason", reason), ended.set())
        call.end_aside = call.end
        say("begun\n")(call)
        begun.set()
        assert ended.wait(20)
        raise LinkLost(f"{call.reason}. It was ended there.")

    return does


def run(hosts, names, **more):
    more.setdefault("parallel", 32)
    return run_everywhere(hosts, names, ERRAND, **more)


def test_rows_stand_in_the_order_of_the_names_however_they_end():
    go = threading.Event()

    class Telling(Heard):
        def ended(self, row):
            super().ended(row)
            go.set()

    hosts = Hosts(www_1=lambda _: go.wait(20) and 3)
    heard = Telling()
    rows = run(hosts, ["www-1", "www-2"], listener=heard)
    assert [(row["instance"], row["exit_code"]) for row in rows] == [("www-1", 3), ("www-2", 0)]
    assert [row["instance"] for row in heard.rows] == ["www-2", "www-1"]
    assert (heard.names, heard.what) == (["www-1", "www-2"], "uptime")


def test_lines_are_told_as_they_come_without_terminal_control():
    heard = Heard()
    (row,) = run(Hosts(www_1=say("\x1b[31mred\x1b[0m\nrest")), ["www-1"], listener=heard)
    assert heard.lines == [("www-1", "stdout", "red"), ("www-1", "stdout", "rest")]
    assert row["stdout"] == "red\nrest"


def test_a_host_that_cannot_be_reached_is_a_row():
    def refuse(_):
        raise ConnectionFailed("www-1: no route.")

    rows = run(Hosts(www_1=refuse), ["www-1", "www-2"])
    assert [(row["exit_code"], row["error"]) for row in rows] == [(None, "www-1: no route."), (0, "")]
    assert [failed(row) for row in rows] == [True, False]


def test_why_it_failed_is_without_terminal_control():
    def refuse(_):
        raise ConnectionFailed("a: \x1b[31mno\x1b[0m route.")

    def sudo(call):
        call.stderr.feed(b"sudo: \x1b]0;owned\x07a password is required\n", last=True)
        return 231

    rows = run_everywhere(
        Hosts(a=refuse, b=sudo), ["a", "b"], errand_of("uptime", sudo=True), parallel=2, listener=Heard()
    )
    assert rows[0]["error"] == "a: no route."
    assert "(a password is required)" in rows[1]["error"]


@pytest.mark.parametrize("seconds", [0, -1.0, math.nan, math.inf, 1e300])
def test_a_time_limit_that_is_none_is_refused_before_anything_runs(seconds):
    heard = Heard()
    with pytest.raises(OptionError, match="--timeout"):
        run(Hosts(), ["a"], timeout=seconds, listener=heard)
    assert heard.begun == []


def test_a_command_that_is_cut_off_keeps_what_it_said():
    def lose(call):
        say("so far\n")(call)
        raise LinkLost("www-1: the connection broke.")

    (row,) = run(Hosts(www_1=lose), ["www-1"])
    assert (row["stdout"], row["error"]) == ("so far\n", "www-1: the connection broke.")


def test_a_thousand_hosts_go_no_more_than_so_many_at_once():
    hosts = Hosts()
    names = [f"www-{number}" for number in range(1000)]
    rows = run(hosts, names, parallel=16)
    assert [row["instance"] for row in rows] == names
    assert 1 <= hosts.most <= 16


def test_one_after_the_other_stops_at_the_first_that_fails():
    hosts, heard = Hosts(b=say("bad\n", 2)), Heard()
    rows = run(hosts, ["a", "b", "c", "d"], each=True, listener=heard)
    assert hosts.most == 1
    assert heard.begun == ["a", "b"]
    assert [row["exit_code"] for row in rows] == [0, 2, None, None]
    assert [row["error"] for row in rows] == ["", "", *["not tried, since b failed"] * 2]
    assert [untried(row) for row in heard.rows] == [False, False, True, True]
    assert run_failures(run_frame(rows)) == (1, 2)


@pytest.fixture
def interrupt():
    """Interrupts the main thread when an event is set."""
    threads = []

    def when(event):
        def wait():
            assert event.wait(20)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield when
    for thread in threads:
        thread.join()


def test_an_interrupt_ends_what_runs_and_keeps_what_was_done(interrupt):
    begun, told = threading.Event(), threading.Event()

    class Telling(Heard):
        def ended(self, row):
            super().ended(row)
            told.set()

    both = threading.Event()

    def watch():
        if begun.wait(20) and told.wait(20):
            both.set()

    threading.Thread(target=watch).start()
    heard = Telling()
    interrupt(both)
    with pytest.raises(KeyboardInterrupt) as caught:
        run(Hosts(b=hang(begun)), ["a", "b", "c"], parallel=1, listener=heard)
    assert caught.value.rows == heard.rows
    assert [(row["instance"], row["exit_code"], row["stdout"]) for row in heard.rows] == [
        ("a", 0, ""),
        ("b", None, "begun\n"),
    ]
    assert heard.rows[1]["error"] == "interrupted. It was ended there."
    assert heard.begun == ["a", "b"]


def test_an_interrupt_just_as_a_host_begins_leaves_its_row():
    begun = threading.Event()

    class Interrupted(Workers):
        def submit(self, work):
            future = super().submit(work)
            assert begun.wait(20)
            signal.raise_signal(signal.SIGINT)
            return future

    hosts = Hosts(a=hang(begun))
    hosts.workers = Interrupted("hosts")
    with pytest.raises(KeyboardInterrupt) as caught:
        run(hosts, ["a", "b"], parallel=1)
    assert [(row["instance"], row["stdout"]) for row in caught.value.rows] == [("a", "begun\n")]
    assert caught.value.rows[0]["error"] == "interrupted. It was ended there."


def test_a_login_that_goes_on_is_broken_off_at_an_interrupt(interrupt):
    begun = threading.Event()
    hosts = Hosts(a=hang(begun))
    hosts.is_open = lambda _: False
    interrupt(begun)
    with pytest.raises(KeyboardInterrupt):
        run(hosts, ["a"])
    assert hosts.aborted == ["a"]


def test_a_listener_that_fails_is_told_nothing_more_and_what_runs_takes_no_notice():
    """D2, case 18: a face that cannot write is no fault of the hosts."""
    heard, warned = [], []

    class Broken(Heard):
        def said(self, instance, stream, line):
            heard.append(line)
            raise BrokenPipeError

    def does(call):
        call.lines("stdout", "x")
        call.lines("stdout", "y")

    rows = run(Hosts(a=does), ["a", "b"], listener=Broken(), warn=warned.append)
    assert [(row["instance"], row["exit_code"], row["error"]) for row in rows] == [("a", 0, ""), ("b", 0, "")]
    assert heard == ["x"]
    assert warned == ["What hosts say cannot be shown any more: BrokenPipeError."]


class TestLogs:
    def test_only_what_is_long_has_one_and_it_is_whole_and_ours_alone(self, tmp_path):
        text = "".join(f"line {number}\n" for number in range(41))
        heard = Heard()
        run(Hosts(a=say(text), b=say("short\n"), c=say("x" * 601)), ["a", "b", "c"], logs=tmp_path, listener=heard)
        logs = {row["instance"]: row["log"] for row in heard.rows}
        assert logs["b"] == ""
        (folder,) = (tmp_path / "output").iterdir()
        assert sorted(file.name for file in folder.iterdir()) == ["a.log", "c.log"]
        assert (folder / "a.log").read_text() == text
        assert str(folder / "a.log") == logs["a"]
        assert stat.S_IMODE((folder / "a.log").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_errors_begin_a_line_of_their_own(self, tmp_path):
        for name, out, kept in (("a", "no end", "no end\n"), ("b", "end\n", "end\n"), ("c", "", "")):
            errors = "e\n" * 50
            path = OutputLogs(tmp_path).keep({"instance": name, "stdout": out, "stderr": errors})
            assert Path(path).read_text() == kept + errors
        path = OutputLogs(tmp_path).keep({"instance": "d", "stdout": "x" * 601, "stderr": ""})
        assert Path(path).read_text() == "x" * 601

    def test_forty_lines_are_short_in_both_streams_together(self, tmp_path):
        for out, err, kept in ((40, 0, False), (20, 20, False), (21, 20, True), (0, 41, True)):
            row = {"instance": "a", "stdout": "x\n" * out, "stderr": "x\n" * err}
            assert bool(OutputLogs(tmp_path).keep(row)) == kept

    def test_no_folder_is_made_for_nothing(self, tmp_path):
        run(Hosts(a=say("short\n")), ["a"], logs=tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_old_ones_go(self, tmp_path):
        for number in range(60):
            (tmp_path / "output" / f"20200101T0000{number:02}Z-aaaaaa").mkdir(parents=True)
        path = OutputLogs(tmp_path).keep({"instance": "a/b", "stdout": "x\n" * 50, "stderr": ""})
        assert path.endswith("/a%2Fb.log")
        kept = sorted(one.name for one in (tmp_path / "output").iterdir())
        assert len(kept) == 50
        assert kept[0] == "20200101T000011Z-aaaaaa"

    def test_one_that_cannot_be_written_is_none(self, tmp_path):
        (tmp_path / "output").write_text("in the way")
        assert OutputLogs(tmp_path).keep({"instance": "a", "stdout": "x\n" * 50, "stderr": ""}) == ""


def test_where_nobody_hears_lines_output_is_not_cut_into_any():
    """It takes longer than all else that is done with a lot of output."""
    heard = []

    class Seen(Hosts):
        def run(self, instance, command, *, on_call, **how):
            def noted(call):
                on_call(call)
                heard.append(call.is_heard)

            return super().run(instance, command, on_call=noted, **how)

    run(Seen(), ["a"])
    run(Seen(), ["a"], listener=Heard())
    assert heard == [False, True]


def test_lines_that_come_together_are_told_together():
    """Each call costs more than to cut a line: a program that prints 100 MB spent its time so."""
    told = []

    class Hears(Listener):
        def said_lines(self, instance, stream, lines):
            told.append((instance, stream, lines))

    run(Hosts(a=say("a\r\nb\x1b[31m\n" * 5000 + "rest")), ["a"], listener=Hears())
    assert told == [("a", "stdout", "\n".join(["a", "b"] * 5000)), ("a", "stdout", "rest")]


def test_what_a_host_said_is_not_in_memory_any_more_once_it_is_let_go_of():
    """A circle would keep it until Python looks for such."""
    calls = []

    class Seen(Hosts):
        def run(self, instance, command, *, on_call, **how):
            def noted(call):
                on_call(call)
                calls.append(weakref.ref(call))

            return super().run(instance, command, on_call=noted, **how)

    gc.disable()
    try:
        run(Seen(), ["a"], listener=Heard())
        assert [call() for call in calls] == [None]
    finally:
        gc.enable()
