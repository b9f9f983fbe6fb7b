"""The words that a host runs a command by: in real shells, and over a real sshd."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import msgspec
import pytest

from nixhive_nb.errors import ConnectionFailed, LinkLost, OptionError
from nixhive_nb.hosts.command import check_name, errand_of, own_script, refusal
from nixhive_nb.ssh.call import Call
from tests.sshd import BOTH, eventually

pytestmark = pytest.mark.nix
CARRIERS = BOTH

NASTY = "a  b\n'\"\\n \\\\ $(touch /nowhere) `id` ; # {x} \t€\n\n"
SHELLS = [shell for shell in ("dash", "bash", "bash as sh") if shutil.which(shell.split()[0])]


class Begun:
    """An errand that a login shell has begun, in a group of processes of its own as sshd does it."""

    def __init__(self, errand, shell="sh"):
        self.errand = errand
        words = errand.command.replace("exec /bin/sh", f"exec {shell}")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [shell, "-c", words], stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        self._feeding = threading.Thread(target=self.write, args=(errand.stdin,))
        self._feeding.start()

    def write(self, data):
        # One that ends early does not read all of it.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def ended(self):
        """Wait for its end, with its input still open as it is over ssh; give its status and what it wrote."""
        with ThreadPoolExecutor(2) as pool:
            out, err = pool.map(lambda stream: stream.read(), (self.process.stdout, self.process.stderr))
        status = self.process.wait(20)
        self._feeding.join()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        return status, out.decode(), err.decode()


@pytest.fixture(params=SHELLS)
def shell(request, tmp_path):
    if request.param != "bash as sh":
        return request.param
    # As it is on NixOS: by that name it keeps to POSIX.
    (tmp_path / "sh").symlink_to(shutil.which("bash"))
    return str(tmp_path / "sh")


def test_a_value_arrives_as_it_is(shell):
    errand = errand_of('printf "[%s][%s]" "$x" "$y"', variables={"x": NASTY, "y": ""})
    assert Begun(errand, shell).ended() == (0, f"[{NASTY}][]", "")


def test_neither_values_nor_scripts_nor_input_stand_in_what_sshd_starts():
    errand = errand_of(script="echo S3CRET", variables={"x": "S3CRET"}, stdin=b"S3CRET", sudo=True)
    assert "S3CRET" not in errand.command
    assert errand.stdin.count(b"S3CRET") == 3


def test_a_script_keeps_its_input(shell):
    errand = errand_of(script='read a; echo "$a"; cat; exit 3', stdin=b"one\ntwo\n")
    assert Begun(errand, shell).ended() == (3, "one\ntwo\n", "")


def test_input_without_end_of_line_and_larger_than_any_pipe_arrives(shell):
    data = bytes(range(256)) * 2000
    status, out, err = Begun(errand_of("md5sum; cat /dev/stdin", stdin=data), shell).ended()
    whole = subprocess.run(["md5sum"], input=data, capture_output=True, check=True).stdout.decode()
    assert (status, out, err) == (0, whole, "")


def test_without_input_it_is_empty_and_not_waited_for(shell):
    assert Begun(errand_of("cat; cat /dev/stdin; echo end"), shell).ended() == (0, "end\n", "")


def test_input_that_nobody_reads_does_no_harm(shell):
    assert Begun(errand_of("echo end", stdin=b"x" * 300_000), shell).ended() == (0, "end\n", "")


def test_another_program_gets_the_script_as_a_file(shell):
    script = "import os, sys\nprint(os.environ['x'], end='')\nprint(sys.stdin.read())\nsys.exit(4)\n"
    errand = errand_of(script=script, shell=("python3", "-u"), variables={"x": NASTY}, stdin=b"in")
    assert Begun(errand, shell).ended() == (4, f"{NASTY}in\n", "")


def test_a_command_is_a_script_for_another_program(shell):
    assert Begun(errand_of("print(6 * 7)", shell="python3", stdin="text"), shell).ended() == (0, "42\n", "")


def test_a_program_that_is_not_there(shell):
    status, _, err = Begun(errand_of("true", shell=("nosuch",)), shell).ended()
    assert status == 127
    assert "nosuch" in err


def test_nothing_runs_of_what_has_not_come_whole(shell):
    errand = errand_of(script="echo one\necho two\n", stdin=b"in")
    for end in range(len(errand.stdin) - 4):
        words = errand.command.replace("exec /bin/sh", f"exec {shell}")
        cut = subprocess.run([shell, "-c", words], input=errand.stdin[:end], capture_output=True, check=False)
        assert cut.stdout == b""


@pytest.mark.parametrize("stdin", [b"", b"some input"])
@pytest.mark.parametrize("variables", [{}, {"FUNCNEST": "1"}])
def test_our_word_ends_it_and_what_it_started(shell, stdin, variables):
    script = "trap 'echo ended; exit 5' TERM; sh -c 'echo begun; exec sleep 20' & wait"
    begun = Begun(errand_of(script=script, stdin=stdin, variables=variables), shell)
    assert begun.process.stdout.readline() == b"begun\n"
    begun.write(begun.errand.ending)
    # All that wrote to these pipes is gone: they came to their end.
    assert begun.ended()[1] == "ended\n"


def test_our_word_ends_it_however_short_a_shell_waits_for_input(shell):
    script = "trap 'echo ended; exit 5' TERM; sleep 0.5; sh -c 'echo begun; exec sleep 20' & wait"
    begun = Begun(errand_of(script=script, variables={"TMOUT": "0.2"}), shell)
    assert begun.process.stdout.readline() == b"begun\n"
    begun.write(begun.errand.ending)
    assert begun.ended()[1] == "ended\n"


@pytest.mark.parametrize("stdin", [b"", b"some input"])
def test_the_end_of_the_link_ends_it_and_what_it_started(shell, stdin):
    """D3: nothing that we started on a host outlives us; `timeout` makes a group of its own."""
    script = "trap 'echo ended; exit 5' TERM; timeout 60 sh -c 'echo begun; exec sleep 60' & wait"
    begun = Begun(errand_of(script=script, stdin=stdin), shell)
    assert begun.process.stdout.readline() == b"begun\n"
    begun.process.stdin.close()
    assert begun.ended()[1] == "ended\n"


def test_the_end_of_the_link_ends_one_that_takes_no_notice(shell):
    """D3."""
    begun = Begun(errand_of(script="trap '' TERM; echo begun; while :; do sleep 60; done"), shell)
    assert begun.process.stdout.readline() == b"begun\n"
    begun.process.stdin.close()
    assert begun.ended()[1] == "", "all that wrote to these pipes is gone"


def alive_in_session_of(process):
    listed = subprocess.run(["ps", "-s", str(process.pid), "-o", "stat="], capture_output=True, text=True, check=False)
    return [state for state in listed.stdout.split() if state[0] != "Z"]


# Whoever looks into /proc sees what one of these has started before itself: 10000 before 9999.
IN_ANOTHER_ORDER = "for last in 98 998 9998; do echo $last >/proc/sys/kernel/ns_last_pid; sh -c '%s' & done; wait"


def test_who_is_ended_does_not_go_on_with_what_would_have_come_next(shell, tmp_path):
    """D3: `sleep 30; systemctl restart …` that is cancelled while it sleeps."""
    next_one = "; ".join(f"echo next >>{tmp_path}/said" for _ in range(99))
    script = IN_ANOTHER_ORDER % f"echo begun; sleep 60; {next_one}"
    for _ in range(5):
        begun = Begun(errand_of(script=script), shell)
        assert begun.process.stdout.readline() == b"begun\n"
        begun.process.stdin.close()
        begun.ended()
    assert not (tmp_path / "said").exists()


def test_what_it_begins_while_it_is_killed_is_killed_too(shell):
    """D3."""
    script = IN_ANOTHER_ORDER % 'trap "" TERM; echo begun; while :; do sleep 50; done'
    begun = Begun(errand_of(script=script), shell)
    assert begun.process.stdout.readline() == b"begun\n"
    begun.process.stdin.close()
    begun.process.wait(20)
    eventually(lambda: not alive_in_session_of(begun.process), "the end of all that it began")
    begun.ended()


def test_what_a_command_that_has_ended_left_running_is_let_be(shell, tmp_path):
    """D3: a daemon that was started on purpose, say."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    begun = Begun(errand_of(f"(cat {gate} >{tmp_path}/said) >/dev/null 2>&1 & echo begun"), shell)
    assert begun.ended()[:2] == (0, "begun\n")
    gate.write_text("still there")
    eventually(lambda: (tmp_path / "said").read_text() == "still there")


def test_it_has_no_child_that_it_did_not_make(shell):
    script = "import os\ntry:\n    os.wait()\nexcept ChildProcessError:\n    print('none')\n"
    assert Begun(errand_of(script=script, shell=("python3",)), shell).ended() == (0, "none\n", "")


def names_of(shell):
    """The variables that a shell has by itself."""
    listed = subprocess.run(
        [shell, "-c", 'if [ -n "$BASH" ]; then compgen -v; else set; fi'], env={}, capture_output=True, check=True
    )
    return {line.partition("=")[0] for line in listed.stdout.decode().splitlines()}


def test_each_variable_of_a_shells_own_arrives_as_it_is_or_is_refused(shell):
    # Root has no PS4 from elsewhere, the shell itself must be found, and no value of POSIXLY_CORRECT means anything.
    names = {*names_of(shell), "HOME"} - {"PS4", "PATH", "POSIXLY_CORRECT"}
    taken = sorted(filter(is_taken, names))
    assert 0 < len(taken) < len(names)
    script = "".join(f'printf "%s=%s\\n" {name} "${name}"\n' for name in taken)
    errand = errand_of(script=script, shell=shell, variables=dict.fromkeys(taken, "/its own"))
    assert Begun(errand, shell).ended() == (0, "".join(f"{name}=/its own\n" for name in taken), "")


def is_taken(name):
    try:
        check_name(name)
    except OptionError:
        return False
    return True


@pytest.mark.parametrize("variables", [{"PATH": "/nowhere"}, {"SHELL": "/nowhere"}])
@pytest.mark.parametrize("kind", ["command", "script"])
def test_where_programs_are_is_for_the_command_alone(shell, variables, kind, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/sh")
    how = {kind: 'read x; echo "$x $PATH $SHELL"'}
    begun = Begun(errand_of(**how, variables=variables, stdin=b"in\n"), shell)
    here = {"PATH": os.environ["PATH"], "SHELL": "/bin/sh", **variables}
    assert begun.ended() == (0, f"in {here['PATH']} {here['SHELL']}\n", "")


@pytest.mark.parametrize(
    "name", ["", "1x", "a-b", "a b", "x=y", "ä", "a\n", "$x", "_hive_it", "UID", "_", "PPID", "PWD", 3]
)
def test_what_cannot_be_the_name_of_a_variable(name):
    with pytest.raises(OptionError, match="cannot be the name of a variable"):
        check_name(name)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"script": "echo \0"}, "NUL"),
        ({"command": "true", "variables": {"x": "\0"}}, "NUL"),
        ({"command": "echo \ud83d"}, "not valid Unicode"),
        ({"command": "cat", "stdin": "\ud83d"}, "not valid Unicode"),
        ({"command": "true", "variables": {"port": 22}}, "not text"),
        ({"command": ["ls", "-l"]}, "not text"),
        ({"command": "true", "stdin": ["x"]}, "The input is not text and no bytes, but list"),
        ({"command": "true", "shell": 5}, "The shell is not text and no list of words, but int"),
        ({"command": "true", "variables": ["A"]}, "The variables are no dict of names and values, but list"),
    ],
)
def test_what_no_shell_can_hold(what, said):
    with pytest.raises(OptionError, match=said):
        errand_of(**what)


def test_bytes_of_a_file_name_that_are_not_unicode_arrive(shell):
    assert Begun(errand_of("printf %s \udcff | od -An -tx1"), shell).ended() == (0, " ff\n", "")


@pytest.mark.parametrize("what", [{}, {"command": "uptime", "script": "echo hi"}])
def test_it_is_one_command_or_one_script(what):
    with pytest.raises(OptionError, match="a command or a script"):
        errand_of(**what)


def over(site, errand, **more):
    connections = site.connections[0] if site.connections else site.connect(site.instance("web", site.sshd()))
    return connections.run("web", errand.command, stdin=errand.stdin, ending=errand.ending, **more)


def test_over_ssh_it_ends_by_itself_though_its_input_is_open(site, carrier):
    ended = over(site, errand_of('printf "%s" "$x"; cat; exit 7', variables={"x": NASTY}, stdin=b"in"))
    assert (ended.exited, ended.stdout, ended.stderr) == (7, f"{NASTY}in", "")
    # OpenSSH does not tell which signal has ended what sshd started.
    assert over(site, errand_of("kill -KILL $$")).exited == (137 if carrier == "fabric" else 255)


def test_a_time_limit_ends_the_command_alone(site):
    server = site.sshd()
    connections = site.connect(site.instance("web", server))
    begun, other_calls, heard = threading.Event(), [], []
    with ThreadPoolExecutor(1) as pool:
        slow = errand_of("echo begun; exec sleep 600")
        other = pool.submit(over, site, slow, on_line=lambda *_: begun.set(), on_call=other_calls.append)
        try:
            assert begun.wait(20)
            errand = errand_of("trap 'echo last words; exit' TERM; while :; do sleep 0.1; done")
            with pytest.raises(LinkLost, match=r"^web: it took longer than 0.5 s. It was ended there.$"):
                over(site, errand, timeout=0.5, on_line=lambda *line: heard.append(line))
            assert ("stdout", "last words") in heard
            assert not other.done()
            assert connections.run("web", "true").exited == 0
        finally:
            other_calls[0].end("enough")
        with pytest.raises(LinkLost, match="enough"):
            other.result(20)
    assert server.logins() == 1


def test_one_that_does_not_listen_is_let_go_of(site):
    errand = errand_of("trap '' TERM; echo begun; exec sleep 10")
    calls, begun = [], threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(over, site, errand, on_call=calls.append, on_line=lambda *_: begun.set())
        assert begun.wait(20)
        calls[0].end("enough")
        with pytest.raises(LinkLost, match=r"^web: enough. What ran there may still run.$"):
            running.result(20)


@pytest.mark.parametrize("give_up", [lambda call: call.end("enough"), Call.cancel])
def test_one_that_is_given_up_before_it_is_sent_never_runs(site, tmp_path, give_up):
    errand = errand_of(f"touch {tmp_path}/ran")
    with pytest.raises(ConnectionFailed, match="given up before the command was sent"):
        over(site, errand, on_call=give_up)
    assert over(site, errand_of("true")).exited == 0
    assert not (tmp_path / "ran").exists()


def test_a_script_of_a_megabyte_goes_through(site):
    script = "".join(f": {number:06} {'x' * 80}\n" for number in range(11_000)) + "echo end\n"
    assert over(site, errand_of(script=script), timeout=60).stdout == "end\n"


def test_sudo_that_starts_nothing_says_why(site, tmp_path):
    fake = tmp_path / "sudo"
    fake.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    fake.chmod(0o755)
    errand = errand_of("echo never", sudo=True)
    # Not as root, who needs none.
    command = f"PATH={tmp_path}:$PATH; {errand.command.replace('$(id -u)', '1000')}"
    ended = over(site, msgspec.structs.replace(errand, command=command))
    assert refusal(errand, ended).startswith("sudo was refused (a password is required). Let ")
    assert ended.stdout == ""


def test_root_needs_no_sudo(site):
    assert over(site, errand_of("id -u", sudo=True)).stdout == "0\n"


@pytest.mark.parametrize("name", ["hosts/activation.sh", "hosts/word.sh", "nix/fetch.sh"])
def test_a_script_of_ours_is_sent_without_what_is_for_readers(name):
    """Each host is sent it with each question."""
    written, sent = files("nixhive_nb").joinpath(name).read_text(), own_script(name)
    assert len(sent) < 0.75 * len(written)
    for shell in {shell.split()[0] for shell in SHELLS}:
        subprocess.run([shell, "-n"], input=sent, text=True, check=True)


def test_what_needs_no_translation_costs_no_process(shell):
    """Each line that is translated takes a process on the host; a plain command has none such."""
    assert all(line.startswith(b"=") for line in errand_of("uptime -p", variables={"x": "ü 1"}).stdin.splitlines())
    lines = errand_of("a\nb", variables={"x": "\\", "y": "=", "z": "%41"}).stdin.splitlines()
    assert [line for line in lines if line.startswith(b"%")] == [b"%\\\\", b"%a\\nb"]
    errand = errand_of('printf "[%s]" "$x" "$y" "$z"', variables={"x": "\\", "y": "=", "z": "%41"})
    assert Begun(errand, shell).ended() == (0, "[\\][=][%41]", "")


@pytest.mark.parametrize(
    ("command", "status", "out"),
    [
        ("exit 3", 3, ""),
        ("false", 1, ""),
        ("kill -TERM $$", -15, ""),
        ("echo $0 $# # no more", 0, "/bin/sh 0\n"),
        ("echo one\necho two\n", 0, "one\ntwo\n"),
        ("cat <<E\nhere\nE", 0, "here\n"),
        ("exec echo gone", 0, "gone\n"),
        ("trap 'echo last' EXIT; exit 4", 4, "last\n"),
        ("set -- a b; echo $#; (exit 5)", 5, "2\n"),
    ],
)
@pytest.mark.parametrize("size", [0, 10])
def test_where_the_login_shell_is_that_which_runs_us_no_other_is_started(monkeypatch, command, status, out, size):
    """And nobody sees a difference: the same words in a shell of their own do the same."""
    monkeypatch.setenv("SHELL", "/bin/sh")
    assert Begun(errand_of(command, stdin=b"x" * size)).ended() in ((status, out, ""), (128 - status, out, ""))
    own = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert (own.returncode, own.stdout.decode()) == (status, out)


def test_a_login_shell_of_another_name_runs_the_command(monkeypatch, tmp_path):
    (tmp_path / "own").symlink_to(shutil.which("bash"))
    monkeypatch.setenv("SHELL", str(tmp_path / "own"))
    assert Begun(errand_of("echo $0 ${BASH_VERSION:+bash}")).ended() == (0, f"{tmp_path}/own bash\n", "")
    monkeypatch.setenv("SHELL", "/bin/sh")
    seen = Begun(errand_of("tr '\\0' ' ' </proc/$$/cmdline")).ended()[1]
    assert "_hive_read" in seen, "it is the shell that was there"
