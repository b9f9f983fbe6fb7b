"""`run` on real hosts: what is seen while it runs, what stays, and by which ways things get there."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import threading
from queue import Empty

import pytest
from jupyter_client.manager import start_new_kernel

from nixhive_nb.hive import Hive
from nixhive_nb.lab import HostSpec
from nixhive_nb.run.everywhere import Listener
from tests import warm
from tests.practice import start

pytestmark = pytest.mark.fleet

NASTY = "a  b\n'\"\\n $(touch /root/never) `id` {x} €\n"
SECRET = "S3CRET"
IN_PS = "cat /proc/[0-9]*/cmdline 2>/dev/null | grep -a -c S3[C]RET"
"""Counts the secret in the lists of processes; its own words are spelled another way."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Two web servers: root logs in to the one, to the other somebody with sudo, and to depot somebody without."""
    specs = [HostSpec("www-2", "www", user="deploy"), HostSpec("depot", "depot", user="deploy", sudo=False)]
    one = start(tmp_path_factory.mktemp("fleet"), web=2, specs=specs)
    yield one
    one.lab.down()


@pytest.fixture
def run(fleet):
    """Runs `nix-hive run`, and gives how it ended."""

    def run(*words):
        return fleet.nix_hive("run", "-c", "example", *words)

    return run


@pytest.fixture(scope="module")
def hive(fleet):
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.chdir(fleet.folder)
        yield stack.enter_context(Hive.load("example"))


class Gate:
    """A pipe on a host on which a command waits."""

    path = "/var/gate"

    def __init__(self, lab, name):
        self._lab = lab
        self._name = name
        lab.exec(name, ["mkfifo", "-m", "666", self.path])

    def say(self, text):
        self._lab.exec(self._name, ["/bin/sh", "-c", f"cat > {self.path}"], text=text)


@pytest.fixture
def gate(fleet):
    yield Gate(fleet.lab, "www-1")
    fleet.lab.exec("www-1", ["rm", Gate.path])


def begin(fleet, *words):
    return subprocess.Popen(
        [*warm.command(), "run", "-c", "example", *words],
        cwd=fleet.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_running(fleet, name, pid):
    """Return whether a process of a host is there, and has not ended."""
    state = f"sed -n 's/^State:[[:space:]]*//p' /proc/{int(pid)}/status 2>/dev/null || true"
    return fleet.lab.exec(name, ["/bin/sh", "-c", state])[:1] not in ("", "Z", "X")


class TestInATerminal:
    def test_lines_come_while_the_command_runs(self, fleet, gate):
        process = begin(fleet, "www-1", f"echo begun; cat {gate.path}")
        assert process.stdout.readline() == "www-1 | begun\n"
        gate.say("go on\n")
        assert process.stdout.readline() == "www-1 | go on\n"
        assert process.wait(60) == 0
        assert process.stderr.read() == ""

    def test_each_line_is_whole_and_has_the_name_of_its_host(self, run):
        many = "i=0; while [ $i -lt 1500 ]; do echo out-$i; echo err-$i >&2; i=$((i+1)); done"
        ended = run("*", many)
        for said, word in ((ended.stdout, "out"), (ended.stderr, "err")):
            lines = said.splitlines()
            assert len(lines) == 4 * 1500
            for name in ("portico", "depot", "www-1", "www-2"):
                own = [line for line in lines if line.startswith(f"{name:7} | ")]
                assert own == [f"{name:7} | {word}-{number}" for number in range(1500)]

    def test_how_hosts_failed_goes_to_standard_error(self, run):
        ended = run("web", "hostname; test $(hostname) != www-2")
        assert ended.returncode == 1
        assert sorted(ended.stdout.splitlines()) == ["www-1 | www-1", "www-2 | www-2"]
        assert ended.stderr.splitlines() == ["!! www-2: exit status 1", "nix-hive: one instance failed"]

    def test_plain_output_is_as_it_is_and_in_order(self, run):
        ended = run("--plain", "web", "hostname; test $(hostname) != www-1")
        assert ended.returncode == 1
        assert ended.stdout == "www-1\nwww-2\n"
        assert ended.stderr.splitlines() == [
            "## www-1",
            "!! exit status 1",
            "## www-2",
            "nix-hive: one instance failed",
        ]

    def test_of_more_than_is_to_be_kept_the_log_has_what_is_to_be_kept_of_it(self, run, fleet):
        """E4: the two limits as they are typed."""
        ended = run("--json", "--max-output", "2k", "--max-log", "100k", "www-1", "seq 100000")
        assert ended.returncode == 0, ended.stderr
        (row,) = json.loads(ended.stdout)
        assert row["stdout"].startswith("1\n2\n3\n")
        assert row["stdout"].endswith("99999\n100000\n")
        assert len(row["stdout"]) < 2500
        kept = (fleet.folder / re.search(r"are left out here: see (\S+/www-1\S*) \.\.\.", row["stdout"])[1]).read_text()
        assert kept.startswith("1\n2\n3\n")
        assert "this log has reached its limit of 102.4 kB (--max-log)" in kept[-200:]
        assert 100 << 10 <= len(kept) < 102 << 10

    def test_a_reader_that_has_had_enough_ends_the_run(self, fleet):
        process = begin(fleet, "www-1", "echo $$; exec yes")
        pid = process.stdout.readline().split()[-1]
        process.stdout.close()
        assert process.wait(60) == 1
        assert not is_running(fleet, "www-1", pid)

    def test_an_interrupt_ends_what_runs_on_hosts(self, fleet):
        process = begin(fleet, "--sudo", "web", "echo $$; test $(hostname) = www-1 || exec sleep 600")
        lines = dict(process.stdout.readline().split(" | ") for _ in range(2))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert errors.splitlines()[-2:] == ["!! www-2: interrupted. It was ended there.", "nix-hive: interrupted"]
        assert not is_running(fleet, "www-2", lines["www-2"])


class TestWays:
    def test_root_runs_it_where_sudo_wants_no_password(self, hive):
        frame = hive.run("*", "id -un; cat", sudo=True, stdin=b"input\n")
        assert dict(frame["stdout"])["www-2"] == "root\ninput\n"
        assert list(frame["exit_code"].isna()) == [name == "depot" for name in frame.index]
        error = frame.loc["depot", "error"]
        assert error.startswith("depot: sudo was refused (a password is required). Let the login user use sudo")

    def test_the_status_of_what_root_ran_is_its_own(self, hive):
        for status in (0, 1, 126, 127, 137, 231):
            assert hive.run("www-2", f"exit {status}", sudo=True)["exit_code"].tolist() == [status]

    @pytest.mark.parametrize("sudo", [False, True])
    def test_variables_arrive_as_they_are_and_no_list_of_processes_shows_them(self, hive, sudo):
        command = f'printf %s "$text"; test "$secret" = S3""CRET; echo $?; {IN_PS}'
        frame = hive.run("web", command, variables={"text": NASTY, "secret": SECRET}, sudo=sudo)
        assert set(frame["stdout"]) == {f"{NASTY}0\n0\n"}

    def test_nor_scripts(self, hive):
        frame = hive.run("web", script=f"secret=S3CRET\n{IN_PS}\n")
        assert set(frame["stdout"]) == {"0\n"}
        # It would be found.
        until_seen = f"for try in $(seq 200); do [ $({IN_PS}) = 0 ] || break; sleep 0.05; done"
        shown = f"sh -c 'sleep 60; : S3CRET' >/dev/null 2>&1 & {until_seen}; {IN_PS}; kill $!"
        assert set(hive.run("web", shown)["stdout"]) == {"1\n"}

    def test_a_script_goes_there_as_it_is(self, hive):
        script = "x='a  b'\necho \"$x\" ${x#a} 'it''s' `echo back` \\\\ {1..2}\nread line; echo \"read: $line\"\n"
        (answer,) = hive.run("www-1", script=script)["stdout"]
        assert answer == "a  b b its back \\ {1..2}\nread: \n"

    def test_another_shell_runs_a_script(self, hive):
        script = "import os, sys\nprint(os.environ['text'], sys.stdin.read())\nsys.exit(9)\n"
        frame = hive.run("web", script=script, shell=["python3", "-u"], variables={"text": NASTY}, stdin=b"in")
        assert set(frame["stdout"]) == {f"{NASTY} in\n"}
        assert set(frame["exit_code"]) == {9}

    def test_a_file_is_the_input(self, run, fleet):
        (fleet.folder / "large").write_bytes(bytes(range(256)) * 4000)
        ended = run("--stdin-from", "large", "--plain", "web", "md5sum")
        whole = subprocess.run(["md5sum"], input=(fleet.folder / "large").read_bytes(), capture_output=True, check=True)
        assert ended.stdout == whole.stdout.decode() * 2

    def test_a_variable_may_come_from_our_own_environment(self, run, monkeypatch):
        monkeypatch.setenv("TOKEN", NASTY)
        assert (
            run("-v", "TOKEN", "-v", "other=1=2", "--plain", "www-1", 'printf %s "$TOKEN$other"').stdout
            == NASTY + "1=2"
        )

    def test_one_after_the_other_stops_at_the_first_that_fails(self, run):
        ended = run("--each", "*", "hostname; test $(hostname) != www-1")
        assert ended.stdout.split()[2::3] == ["depot", "portico", "www-1"]
        assert ended.stderr.splitlines() == ["!! www-1: exit status 1", "nix-hive: one instance failed, 1 not tried"]

    @pytest.mark.parametrize("sudo", [False, True])
    def test_a_time_limit_ends_it_on_the_host(self, fleet, hive, sudo):
        frame = hive.run("web", "echo $$; exec sleep 600", sudo=sudo, timeout=1)
        for name, row in frame.iterrows():
            assert row["error"] == f"{name}: it took longer than 1 s. It was ended there."
            assert not is_running(fleet, name, row["stdout"].strip())
        assert set(hive.run("web", "echo again")["stdout"]) == {"again\n"}


def test_the_listener_of_python_hears_lines_while_they_come(hive, gate):
    begun, heard = threading.Event(), []

    class Heard(Listener):
        def said(self, instance, stream, line):
            heard.append((instance, stream, line))
            begun.set()

    def let_go_on():
        assert begun.wait(60)
        assert heard == [("www-1", "stderr", "<script> red")]
        gate.say("go on\n")

    thread = threading.Thread(target=let_go_on)
    thread.start()
    frame = hive.run("www-1", f"printf '<script> \\033[31mred\\n' >&2; cat {gate.path}", listener=Heard())
    thread.join()
    assert frame.loc["www-1", "stdout"] == "go on\n"


class Notebook:
    """A kernel in the folder of a fleet."""

    def __init__(self, folder):
        self.manager, self.client = start_new_kernel(cwd=str(folder))

    def begin(self, source):
        return self.client.execute(source)

    def until(self, condition):
        """Return the messages up to the one that a condition holds for."""
        told = []
        while not told or not condition(told[-1]):
            try:
                told.append(self.client.get_iopub_msg(timeout=60))
            except Empty:
                raise AssertionError([one["content"] for one in told]) from None
        return told

    def end(self, sent):
        return self.until(
            lambda one: one["parent_header"].get("msg_id") == sent and one["content"].get("execution_state") == "idle"
        )

    def run(self, source):
        """Return what a cell leaves: the texts and HTML of its outputs, the last of those that are replaced."""
        return left_by(self.end(self.begin(source)))

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def left_by(told):
    kinds = ("display_data", "update_display_data", "stream", "error", "execute_result")
    outputs = [one for one in told if one["msg_type"] in kinds]
    errors = [one["content"]["evalue"] for one in outputs if one["msg_type"] == "error"]
    shown = [one["content"]["data"] for one in outputs if one["msg_type"].endswith("display_data")]
    printed = [one["content"]["text"] for one in outputs if one["msg_type"] == "stream"]
    return shown[-1] if shown else {}, errors, "".join(printed)


@pytest.fixture(scope="module")
def notebook(fleet):
    one = Notebook(fleet.folder)
    _, errors, _ = one.run("%load_ext nixhive_nb\n%config Hive.widgets = 'none'\n%hive load example")
    assert not errors
    yield one
    one.close()


class TestInANotebook:
    def test_lines_come_while_the_cell_runs_and_the_record_takes_their_place(self, notebook, gate):
        sent = notebook.begin(f"%%hive run web\necho '<b>begun</b>'; test $(hostname) = www-2 || cat {gate.path}")
        told = notebook.until(lambda one: "begun" in one["content"].get("data", {}).get("text/html", ""))
        view = told[-1]["content"]["data"]["text/html"]
        assert "Running a script" in view
        assert "● running" in view
        assert "&lt;b&gt;begun" in view
        gate.say("")
        record, errors, _ = left_by(notebook.end(sent))
        assert errors == []
        assert record["text/plain"].splitlines() == [
            "2 hosts, exit status 0",
            "## 2 hosts said: www-1, www-2  ✓ exit status 0",
            "<b>begun</b>",
        ]
        assert set(record) == {"text/plain", "text/html"}

    def test_long_output_has_a_log(self, notebook, fleet):
        record, _, _ = notebook.run("%%hive run web\nif test $(hostname) = www-1; then seq 1000; fi")
        path = re.search(r"… 960 lines are not shown: see (\S+/www-1.log) …", record["text/plain"])[1]
        assert (fleet.folder / path).read_text() == "".join(f"{number}\n" for number in range(1, 1001))
        assert (fleet.folder / path).stat().st_mode & 0o777 == 0o600

    def test_variables_of_the_notebook_go_as_they_are(self, notebook):
        notebook.run(f"value = {NASTY!r}")
        for cell in (
            '%%hive run www-1 -v text=$value -v "two=$value {1 + 1}" --out df\nprintf "%s" "$text$two"',
            '%hive run -v text=$value -v "two=$value {1 + 1}" --out df www-1 printf "%s" \'"$text$two"\'',
        ):
            _, errors, printed = notebook.run(f"{cell}")
            assert (errors, printed) == ([], "")
            _, _, printed = notebook.run("print(ascii(df.stdout.iloc[0]))")
            assert printed.strip() == ascii(f"{NASTY}{NASTY} 2")

    def test_values_of_variables_are_in_no_file_of_ours(self, notebook, fleet):
        notebook.run("token = 'T0' + 'KEN'")
        notebook.run('%%hive run web -v token=$token --out df\ntest "$token" && seq 1000')
        kept = [file for file in fleet.own.rglob("*") if file.is_file()]
        assert any(file.parent.parent.name == "output" for file in kept)
        assert not [file for file in kept if b"T0KEN" in file.read_bytes()]

    def test_an_interrupt_leaves_what_was_done_and_goes_on_up(self, notebook, fleet):
        sent = notebook.begin("%hive run --out df web echo $$; test $(hostname) = www-2 || exec sleep 600")
        told = notebook.until(lambda one: "1 done" in one["content"].get("data", {}).get("text/html", ""))
        notebook.manager.interrupt_kernel()
        told += notebook.end(sent)
        record, errors, _ = left_by(told)
        assert errors == ["Interrupted."]
        lines = record["text/plain"].splitlines()
        assert lines[0] == "2 hosts, 1 failed"
        assert lines[1] == "## www-1  ✕ not run to its end"
        assert lines[3] == "interrupted. It was ended there."
        assert lines[4] == "## www-2  ✓ exit status 0"
        assert not is_running(fleet, "www-1", lines[2])
        _, _, printed = notebook.run("print(df.exit_code.isna().to_dict())")
        assert printed.strip() == "{'www-1': True, 'www-2': False}"

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("-v UID=3", "'UID' cannot be the name of a variable"),
            ("-v HIVE_TEST_UNSET", "write NAME=VALUE, or a NAME that is set in the environment"),
            ("--stdin-from nowhere", "'nowhere': No such file"),
            ("--stdin-from -", "a notebook has no standard input"),
            ("--shell '\"'", "No closing quotation"),
            ("--shell ''", "needs the name of a program"),
            ("--timeout 0", "'0' is not a number of seconds, more than 0"),
        ],
    )
    def test_a_mistake_is_one_line(self, notebook, line, words):
        shown, _, printed = notebook.run(f"%hive run {line} web true")
        assert shown == {}
        assert printed.startswith("UsageError: ")
        assert words in printed
        assert printed.count("\n") == 1
