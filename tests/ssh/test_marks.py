"""Logins that run something else than what is asked (cases 10, 16, 27), and login shells of all kinds (case 17)."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess

import pytest

from nixhive_nb.errors import LinkLost, NoAnswer
from nixhive_nb.hosts.command import errand_of
from nixhive_nb.hosts.facts import FACTS, parse_facts
from nixhive_nb.ssh.fabric_links import FabricLinks
from nixhive_nb.ssh.link import RemoteResult
from nixhive_nb.ssh.marks import WORDS, MarkedOutput
from tests.sshd import BOTH

pytestmark = [pytest.mark.nix, pytest.mark.timeout(120)]
CARRIERS = BOTH

ODD = 'it\'s "a" \\n b! $HOME `x` é\n\ttwo lines; # and a comment'
SHELLS = (
    *("bash", "busybox sh", "csh", "dash", "elvish", "fish", "ksh93", "mksh", "nu", "posh", "rc", "tcsh", "xonsh"),
    *("yash", "zsh"),
)
ALWAYS_HERE = ("bash", "dash")


@pytest.fixture
def lines(site):
    """Ask a host of one server: `lines(server, command)`, as a step of a run does."""

    def ask(server, command, *, seconds=30, **options):
        own = FabricLinks(site.connect(site.instance("web", server)))
        return asyncio.run(own.kept("web").run(command, seconds=seconds, **options))

    return ask


def forced(site, command):
    """Have each login of the site run a command of its own."""
    text = site.authorized.read_text().splitlines()
    site.authorized.write_text("".join(f'command="{command}" {line}\n' for line in text))


def login_shell(site, server, shell, rc=""):
    """Return root another shell there."""
    passwd = server.folder / "passwd"
    passwd.write_text(passwd.read_text().replace("/bin/sh\n", f"{shell}\n", 1))
    if rc:
        (server.folder / "home" / ".bashrc").write_text(rc)


def test_an_answer_is_the_commands_own_and_whole(site, lines):
    said = []
    script = f"cat <<'END'\n{ODD}\nEND\necho to stderr >&2; printf 'no end of line'; exit 7"
    ended = lines(site.sshd(), script, on_line=said.append)
    assert (ended.exited, ended.stdout, ended.stderr) == (7, f"{ODD}\nno end of line", "to stderr\n")
    assert [line for line in said if line != "to stderr"] == [*ODD.replace("\t", "\t").split("\n"), "no end of line"]


@pytest.mark.parametrize("command", ["true", "exit 3", "exec false", "printf '\\n\\n'", "kill -9 $$"])
def test_how_it_ended_is_its_own(site, lines, command):
    if "kill" in command:
        with pytest.raises(LinkLost, match="its answer broke off"):
            lines(site.sshd(), command)
        return
    local = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    ended = lines(site.sshd(), command)
    assert (ended.exited, ended.stdout) == (local.returncode, local.stdout)


def test_its_input_is_what_follows(site, lines):
    assert lines(site.sshd(), "read -r a; echo $a; cat", stdin="one\ntwo\n").stdout == "one\ntwo\n"
    assert lines(site.servers[0], "cat").stdout == ""


WELCOME = "Please login as the user 'admin' rather than 'root'."


@pytest.mark.parametrize("status", [0, 1, 142])
def test_a_forced_command_is_no_answer(site, lines, status):
    """Case 16: its words are told, whatever it ends with."""
    forced(site, f"echo '{WELCOME.replace(chr(39), '')}'; exit {status}")
    with pytest.raises(NoAnswer, match=rf"^web cannot be asked: .*said 'Please login as .* \(exit status {status}\)"):
        lines(site.sshd(), FACTS)


@pytest.mark.parametrize("rest", ["", "; cat"])
def test_a_forced_command_that_repeats_what_was_asked_is_no_answer(site, lines, rest):
    """Case 16: the marks are in none of the words that are sent. One that waits for more input is told at the limit."""
    forced(site, f"echo not allowed: $SSH_ORIGINAL_COMMAND{rest}")
    with pytest.raises((NoAnswer, LinkLost), match=r"web cannot be asked: .* said 'not allowed: exec /bin/sh"):
        lines(site.sshd(), FACTS, seconds=5)


def test_a_forced_command_that_lets_ours_run_is_passed_over(site, lines):
    """Case 30: what it prints around the answer is not of it."""
    forced(site, 'echo Welcome; printf current=/nix/store/x; sh -c \\"$SSH_ORIGINAL_COMMAND\\"; echo bye; exit 5')
    ended = lines(site.sshd(), "echo current=/nix/store/y")
    assert (ended.exited, ended.stdout) == (0, "current=/nix/store/y\n")


def test_an_answer_that_is_cut_is_none(site, lines):
    """Case 16."""
    forced(site, 'sh -c \\"$SSH_ORIGINAL_COMMAND\\" | head -c 100')
    with pytest.raises(LinkLost, match="web cannot be asked: its answer broke off"):
        lines(site.sshd(), FACTS)


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false", "/bin/true"])
def test_an_account_that_cannot_log_in_is_no_answer(site, lines, shell):
    """Case 16."""
    server = site.sshd()
    login_shell(site, server, shell)
    words = "This account is currently not available" if "nologin" in shell else "said nothing"
    with pytest.raises(NoAnswer, match=words):
        lines(server, FACTS)


def test_a_start_up_file_that_exits_is_no_answer_and_one_that_prints_is_passed_over(site, lines):
    """Case 16: with an exit status of 0, which looked as if all had gone well."""
    server = site.sshd()
    login_shell(site, server, "/bin/bash", rc="echo this host is retired; exit 0\n")
    with pytest.raises(NoAnswer, match="said 'this host is retired'"):
        lines(server, FACTS)
    login_shell(site, server, "/bin/bash", rc="printf 'uid=7 no end of line'\n")
    assert parse_facts(lines(server, FACTS).stdout).root


def test_text_of_the_server_before_a_session_is_passed_over(site, lines):
    """Case 30."""
    server = site.sshd(extra="PermitUserRC yes")
    rc = server.folder / "home" / ".ssh" / "rc"
    rc.parent.mkdir()
    rc.write_text("echo Welcome; echo; printf 'boot_id=none'\n")
    assert re.fullmatch(r"[0-9a-f-]{36}", parse_facts(lines(server, FACTS).stdout).boot_id)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_login_shell_that_can_run_sh_will_do(shell, tmp_path):
    """Case 17: what sshd does is `SHELL -c WORDS`. Those that are not installed here are left out."""
    program = shutil.which(shell.split()[0])
    if program is None:
        assert shell not in ALWAYS_HERE
        pytest.skip(f"{shell} is not installed")
    answer = MarkedOutput()
    data = answer.line(f"cat; printf '%s' {_quoted(ODD)}; exit 3") + b"input\n"
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    ran = subprocess.run(
        [program, *shell.split()[1:], "-c", WORDS],
        input=data,
        capture_output=True,
        env=env,
        check=False,
        start_new_session=True,
    )
    said = RemoteResult(exited=ran.returncode, stdout=ran.stdout.decode(), stderr=ran.stderr.decode(), seconds=0)
    for line in said.stdout.split("\n"):
        list(answer.heard(line))
    found = answer.result(said, "web")
    assert (found.exited, found.stdout) == (3, f"input\n{ODD}")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("sudo", [False, True])
def test_and_a_script_of_the_users_own_too(shell, sudo, tmp_path):
    """Case 17: `run` and `%%hive run`."""
    program = shutil.which(shell.split()[0])
    if program is None:
        pytest.skip(f"{shell} is not installed")
    errand = errand_of(script="printf '%s' \"$A\"; cat; exit 3", variables={"A": ODD}, stdin="input\n", sudo=sudo)
    # As sshd does it: a session of its own, which is ended when the input is, and the input left open meanwhile.
    with subprocess.Popen(
        [program, *shell.split()[1:], "-c", errand.command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp_path), "SHELL": "/bin/sh"},
        start_new_session=True,
    ) as ran:
        ran.stdin.write(errand.stdin)
        ran.stdin.flush()
        assert ran.wait(timeout=60) == 3
        ran.stdin.close()
        assert ran.stdout.read().decode() == f"{ODD}input\n"


@pytest.mark.parametrize(
    "command", ["echo own # and more", "echo own;", "echo own\n# more", "printf 'own\\n'", "(echo own)"]
)
def test_a_command_that_is_a_plain_line_is_sent_as_it_is(command):
    """No process makes it again on the host; one with a comment, a backslash or a newline is written otherwise."""
    answer = MarkedOutput()
    line = answer.line(command)
    assert (line.startswith(b"="), line.count(b"\n")) == (not set("#\\\n") & set(command), 1)
    ran = subprocess.run(["sh", "-c", WORDS], input=line, capture_output=True, check=True)
    said = RemoteResult(exited=0, stdout=ran.stdout.decode(), stderr="", seconds=0)
    assert [own for text in said.stdout.split("\n") for own in answer.heard(text)] == ["own"]
    assert answer.result(said, "web").stdout == "own\n"


def test_no_pattern_is_made_for_a_command(monkeypatch):
    """Marks are new with each command, and a pattern of them took half of what an answer costs here."""
    monkeypatch.setattr("re._compiler.compile", lambda *_: pytest.fail("a pattern is compiled"))
    answer = MarkedOutput()
    ran = subprocess.run(["sh", "-c", WORDS], input=answer.line("echo own; exit 3"), capture_output=True, check=False)
    said = RemoteResult(exited=3, stdout=f"Welcome\n{ran.stdout.decode()}bye\n", stderr="", seconds=0)
    assert [own for line in said.stdout.split("\n") for own in answer.heard(line)] == ["own"]
    found = answer.result(said, "web")
    assert (found.exited, found.stdout) == (3, "own\n")


def test_lines_that_end_as_on_a_terminal_are_the_answer_as_well():
    answer = MarkedOutput()
    ran = subprocess.run(["sh", "-c", WORDS], input=answer.line("echo own"), capture_output=True, check=True)
    said = RemoteResult(exited=0, stdout=ran.stdout.decode().replace("\n", "\r\n"), stderr="", seconds=0)
    for line in said.stdout.split("\n"):
        list(answer.heard(line))
    assert answer.result(said, "web").stdout == "own\r\n"


def _quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"
