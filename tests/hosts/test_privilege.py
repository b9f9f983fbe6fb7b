"""How a login becomes root: the words for it, and what a person is told where it does not."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest

from nixhive_nb.hosts import activation, command, privilege
from nixhive_nb.hosts.password import Password
from nixhive_nb.hosts.privilege import AS_IT_IS, REFUSED, SUDO, Elevation, Power, elevation, refused
from nixhive_nb.nix import fetching
from nixhive_nb.ssh.link import RemoteResult
from tests.hosts.test_activation import ORDER


@pytest.mark.parametrize(
    ("elevate", "words"),
    [
        ((), "sudo -n --"),
        (("sudo",), "sudo -n --"),
        (("sudo", "-H", "--"), "sudo -n -H --"),
        (("/run/wrappers/bin/sudo", "-E", "-n"), "/run/wrappers/bin/sudo -E -n --"),
        (("doas",), "doas -n --"),
        (("run0",), "run0 --no-ask-password --"),
        (("pfexec", "-P"), "pfexec -P"),
        (("none",), ""),
    ],
)
def test_what_is_said_is_what_runs_and_nothing_asks(elevate, words):
    by = elevation(elevate, root=False)
    assert by.words == tuple(words.split())
    assert elevation(elevate, root=True) == AS_IT_IS


def test_each_way_to_root_is_by_it():
    by = elevation(("doas",), root=False)
    run = command.errand_of("id", sudo=True)
    found = [
        activation.begin(ORDER, by=by),
        activation.forget(ORDER, by=by),
        fetching.keep("/nix/store/x", "root", by=by),
        run.command_by(run.elevation_for(("doas",))),
    ]
    assert all("doas -n --" in words and "sudo" not in words for words in found)
    assert run.command_by(run.elevation_for(())) == run.command
    assert " sudo -n --" in run.command
    plain = command.errand_of("id")
    assert "sudo" not in plain.command_by(plain.elevation_for(("doas",)))


def test_the_word_of_a_trial_and_who_follows_it_need_no_right():
    assert activation.follow(ORDER).startswith("set -- follow ab12\n")
    assert activation.say(ORDER, activation.KEEP).startswith("set -- say ab12 keep\n")


def test_words_are_themselves_behind_any_program(tmp_path):
    """An odd program's words go to it as they are."""
    by = Elevation(("env", "A=a b'c"))
    done = subprocess.run(
        ["/bin/sh", "-c", by.shell('printf "%s|" "$A" "$@"', ["x y", "$z"])], capture_output=True, text=True, check=True
    )
    assert done.stdout == "a b'c|x y|$z|"


@pytest.mark.parametrize(
    ("elevate", "said", "told"),
    [
        ((), "sudo: a password is required", "sudo was refused (a password is required). Let the login user use sudo"),
        (
            (),
            "We trust you have received the usual lecture.\nsudo: a password is required",
            "Let the login user use sudo without a password, or say --ask-password, or log in",
        ),
        ((), "sudo: sorry, you must have a tty to run sudo", "say `Defaults:USER !requiretty` in its sudoers"),
        ((), "/bin/sh: 1: exec: sudo: not found", 'there is no sudo on the host: set `elevate` ("run0", "doas", or a'),
        ((), "/bin/sh: line 1: exec: sudo: not found", "there is no sudo on the host"),
        ((), "/bin/sh: 1: exec: /run/wrappers/bin/sudo: not found", "there is no sudo on the host"),
        ((), "sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set", "how its file and its mount"),
        (
            ("doas",),
            "doas: doas is not enabled, /etc/doas.conf: No such file or directory",
            "See that its doas.conf says `permit nopass USER as root`, or log in as root.",
        ),
        (("doas",), "doas: Authentication required", "say `permit nopass USER as root` in its doas.conf"),
        (("doas",), "doas: Operation not permitted", "doas was refused (Operation not permitted). Say `permit nopass"),
        (
            ("run0",),
            "Failed to start transient service unit: Interactive authentication required.",
            'polkit.addRule(function(action, subject) { if (action.id == "org.freedesktop.systemd1.manage-units" && ',
        ),
        (("pfexec",), "pfexec: no", "pfexec was refused (no). See that `pfexec` makes root there without a question"),
        (("none",), "mkdir: no", 'the login is not root, and `elevate` is "none"'),
    ],
)
def test_a_refusal_says_what_to_do(elevate, said, told):
    text = privilege.refusal(said, elevation(elevate, root=False), root=False)
    assert told in text
    assert text.endswith("Nothing was changed.")


def test_what_the_script_itself_said_is_no_refusal():
    """Sudo may warn first; and root is refused nothing."""
    said = "sudo: unable to resolve host www-1: Name or service not known\nthe host has no flock\n"
    assert not privilege.refusal(said, SUDO, root=False)
    assert not privilege.refusal("sudo: a password is required", SUDO, root=True)


class Link:
    """Answers one question."""

    def __init__(self, exited, stderr=""):
        self.ended, self.asked = RemoteResult(exited=exited, stdout="", stderr=stderr, seconds=0), []

    async def run(self, words, **_how):
        self.asked.append(words)
        return self.ended


def test_it_is_seen_in_one_question_whether_root_is_become():
    good, asked, other = Link(0), Link(1, "sudo: a password is required\n"), Link(65)
    assert asyncio.run(privilege.power_of(good, ())) == Power()
    assert len(good.asked) == 1
    assert asyncio.run(privilege.power_of(asked, ())) == Power(why=refused("a password is required"), asks=True)
    assert "not as root" in asyncio.run(privilege.power_of(other, ("env",))).why
    unasked = Link(0)
    assert "`elevate` is" in asyncio.run(privilege.power_of(unasked, ("none",))).why
    assert not unasked.asked


WRONG = "sudo: no password was provided\nsudo: 1 incorrect password attempt\n"


@pytest.mark.parametrize(
    ("said", "wrong", "told"),
    [
        (f"nixhive-asks-for:op:op:Sorry, try again.\nnixhive-asks-for:op:op:\n{WRONG}", True, "attempt"),
        (f"nixhive-asks-for:root:op:{WRONG}", True, "attempt; it asked for the password of root, not of op"),
        ("nixhive-asks-for:op:op:op is not in the sudoers file.\n", False, "Let the login user run everything"),
        ("sudo: 3 incorrect authentication attempts\n", True, "attempts"),
        ("nixhive-asks-for:op:op:\nsudo: What, what, what, what?\n", True, "What"),
        ("nixhive-counts: 2\nnixhive-asks-for:op:op:\nsudo: no\n", True, "no; faillock counts 2 failures of that user"),
        (f"The account is locked due to 3 failed logins.\nnixhive-asks-for:op:op:{WRONG}", False, "`faillock --user"),
        (f"nixhive-asks-for:op:op:The account is locked due to 1 failed logins.\n{WRONG}", True, "attempt"),
        ("sudo: Account or password is expired, reset your password and try again\n", False, "set a new password"),
        ("sudo: /bin/sh: command not found\n", False, "sudo was refused (/bin/sh: command not found)"),
    ],
)
def test_of_a_password_it_is_seen_whether_it_is_wrong_and_whose_it_has_to_be(said, wrong, told):
    link = Link(privilege.REFUSED, said)
    found = asyncio.run(privilege.power_of(link, (), Password("geheim")))
    assert found.wrong is wrong
    assert told in found.why
    assert "geheim" not in link.asked[0]


def test_only_sudo_takes_a_password_and_its_own_words_stay():
    one = Password("x")
    by = elevation(("/run/wrappers/bin/sudo", "-n", "-H", "--"), root=False, password=one)
    assert by.words == ("/run/wrappers/bin/sudo", "-H", "--")
    assert elevation(("doas",), root=False, password=one) == elevation(("doas",), root=False)
    assert elevation((), root=True, password=one) == AS_IT_IS


@pytest.mark.parametrize(("printf", "status"), [("printf", 0), ("/usr/bin/printf", REFUSED)])
def test_a_shell_that_would_show_the_password_is_given_to_sudo_by_none(tmp_path, printf, status):
    """A printf that is a program has the password among its arguments, which everybody on the host can read."""
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\ncat >/dev/null\n")
    sudo.chmod(0o755)
    by = Elevation(("sudo", "--"), password=Password("open sesame"), mark="behind")
    words = f"command() {{ echo {printf}; }}; {by.asking('/bin/sh -c :')}"
    ended = subprocess.run(
        ["/bin/sh", "-c", words],
        input=by.input(),
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status
    assert ("no printf of its own" in ended.stderr) == bool(status)
    assert "sesame" not in ended.stderr
