"""The words between us and the script on the host, and the script itself in the hands of a real shell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import msgspec
import pytest

from nixhive_nb.hosts import activation
from nixhive_nb.hosts.activation import HostOutcome, Order, RunsAndBoots, Word
from nixhive_nb.hosts.privilege import AS_IT_IS, SUDO, elevation
from nixhive_nb.plan.facts import HostFacts
from nixhive_nb.plan.settled import is_unchanged

SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]
ORDER = Order(
    id="ab12",
    instance="www-1",
    path="/nix/store/x-system",
    type="switch",
    confirm=30,
    limit=60,
    owner="ann@ops (deploy, plan 1a2b3c4)",
)


@pytest.mark.parametrize("root", [True, False])
def test_a_shell_gets_each_word_of_an_order_as_it_is(root):
    words = ["begin", "ab12", ORDER.path, "switch", "30", "60", "0", "0", "-", "any", "any", ORDER.owner]
    words += [] if root else ["$(id -u)"]  # the pipe for the word is made over to that user
    assert _words(activation.begin(ORDER, by=elevation((), root=root))) == words


def _words(command):
    """Return what a script gets: root sets them, and another login has them behind the text."""
    text = command.partition("\n")[0] if command.startswith("set -- ") else command.rpartition(" nixhive ")[2]
    return shlex.split(text.removeprefix("set -- "))


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (RunsAndBoots(), ["any", "any"]),
        (RunsAndBoots(runs="", boots=""), ["none", "none"]),
        (RunsAndBoots(runs="/nix/store/a", boots="/nix/store/b"), ["/nix/store/a", "/nix/store/b"]),
    ],
)
def test_a_host_gets_what_it_must_run_and_boot(expected, words):
    """D6: what is compared is compared on the host, under the lock."""
    order = msgspec.structs.replace(ORDER, expected=expected, force=True)
    assert _words(activation.begin(order, by=AS_IT_IS))[-4:-1] == ["force", *words]
    told = activation.reboot("ab12", limit=600, wait=9, expected=expected, owner="ann", by=AS_IT_IS)
    assert _words(told) == ["reboot", "ab12", "600", "9", *words, "ann"]


def test_what_a_host_ran_and_booted_under_the_lock_is_read():
    assert activation.read_state(Word("holds", "/nix/store/a none")) == RunsAndBoots(runs="/nix/store/a", boots="")


def test_the_message_for_a_host_that_others_changed_names_what_differs():
    then, now = RunsAndBoots(runs="/nix/store/a", boots="/nix/store/a"), RunsAndBoots(runs="/nix/store/a", boots="")
    said = activation.stale("www-1", then, now)
    assert said.startswith("www-1 boots nothing now, and /nix/store/a when the plan was made. Nothing was changed.")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (
            "90 slow.service (start) ",
            "switch-to-configuration has run for 1 min 30 s, and waits for: slow.service (start)",
        ),
        ("30 ", "switch-to-configuration has run for 30.0 s"),
        (f"{'9' * 5000} x", "switch-to-configuration has run for long, and waits for: x"),
    ],
)
def test_what_a_long_activation_waits_for_is_told(said, text):
    """Case 39."""
    assert activation.read_busy(Word("busy", said)) == text


@pytest.mark.parametrize("text", ["", "done", "done x", "nonsense 0", "done 0x1 why"])
def test_a_result_that_makes_no_sense_is_no_success(text):
    assert activation.read_outcome(Word("result", text)).name == "failed"


def test_an_owner_is_one_line_of_bounded_length():
    order = msgspec.structs.replace(ORDER, owner="a\nb; $(c) " * 99)
    words = shlex.split(activation.begin(order, by=AS_IT_IS))
    assert "\n" not in words[-1]
    assert len(words[-1]) <= 200


def test_who_is_not_root_begins_with_sudo_that_asks_nothing():
    assert activation.begin(ORDER, by=SUDO).startswith("exec sudo -n -- /bin/sh ")
    assert "sudo" not in activation.begin(ORDER, by=AS_IT_IS)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("nixhive ab12 tested 4", Word("tested", "4")),
        ("nixhive ab12 ended", Word("ended")),
        ("nixhive ab12 waits bob@ops (deploy)", Word("waits", "bob@ops (deploy)")),
        ("nixhive ab12 nonsense", None),
        ("nixhive other tested 0", None),
        ("starting the following units: nginx.service", None),
    ],
)
def test_only_lines_of_this_activation_are_words(line, word):
    assert activation.read_word(ORDER.id, line) == word


def test_a_result_has_an_outcome_a_status_and_a_reason():
    word = Word("result", "rolled-back 2 switch-to-configuration test ended with 2")
    outcome = activation.read_outcome(word)
    assert outcome == HostOutcome(name="rolled-back", status=2, why="switch-to-configuration test ended with 2")
    assert activation.explained(outcome, 60).endswith("ended with 2: the activation script failed")


def test_what_was_ended_for_its_length_is_said_so():
    outcome = HostOutcome(name="rolled-back", status=124, why="switch-to-configuration test ended with 124")
    assert activation.explained(outcome, 60) == "switch-to-configuration test took longer than 60 s and was ended"


FACTS = HostFacts(current="/nix/store/a", profile="/nix/store/b")


@pytest.mark.parametrize(
    ("path", "action", "unchanged"),
    [
        ("/nix/store/a", "switch", False),
        ("/nix/store/a", "test", True),
        ("/nix/store/b", "boot", True),
        ("/nix/store/a", "boot", False),
        ("/nix/store/a", "dry-activate", False),
    ],
)
def test_what_is_so_already_depends_on_the_type(path, action, unchanged):
    assert is_unchanged(FACTS, path, action) is unchanged


def test_a_script_is_read_whole_before_it_does_anything():
    """A shell that reads from a link must not run the half of a script whose rest never comes."""
    script, command = activation.script(), activation.follow(ORDER)
    ended = subprocess.run(["/bin/sh", "-n", "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    half = script[: len(script) // 2]
    ended = subprocess.run(["/bin/sh", "-c", command], input=half, capture_output=True, text=True, check=False)
    assert ended.stdout == ""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
@pytest.mark.parametrize("shell", SHELLS)
def test_the_word_that_is_waited_for_starts_no_program_and_waits_for_nobody(shell):
    """It is brought over a new connection at each activation, when time counts."""
    words = activation.say(ORDER, "it's over")
    assert len(words) < 1000 < len(activation.script())
    # No program can be found with these words.
    words = words.replace("PATH=/run", "PATH=/nowhere; it=/run")
    made = "mount -t tmpfs none /run && mkdir -p /run/nixhive/ab12 && cd /run/nixhive/ab12"
    waiting = 'mkfifo word; "$2" -c "$1"; exec 5<>word; "$2" -c "$1"; head -n 1 <&5; ls'
    assert _apart(f"{made}; {waiting}", words, shutil.which(shell)) == "it's over\nword\n"
    assert _apart(f'{made}; "$2" -c "$1"; ls', words, shutil.which(shell)) == ""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
@pytest.mark.parametrize("shell", SHELLS)
def test_what_an_activation_kept_goes_with_its_root_and_nothing_else(shell):
    inside = (
        "mount -t tmpfs none /run && mkdir -p /run/nixhive/ab12/x /run/nixhive/cd34; mount -t tmpfs none /nix/var; "
        "mkdir -p /nix/var/nix/gcroots/nixhive /nix/var/nix/gcroots/per-user/ann/nixhive; "
        "cd /nix/var/nix/gcroots; for one in mine other; do ln -s /x nixhive/$one; ln -s /x per-user/ann/nixhive/$one; "
        'done; mkdir nixhive/dir; "$2" -c "$1"; "$2" -c "$3"; ls /run/nixhive nixhive per-user/ann/nixhive'
    )
    words = activation.forget(ORDER, by=AS_IT_IS, rooted="mine"), activation.forget(ORDER, by=AS_IT_IS, rooted="dir")
    said = _apart(inside, words[0], shutil.which(shell), words[1]).split()
    assert said == ["/run/nixhive:", "cd34", "nixhive:", "dir", "other", "per-user/ann/nixhive:", "other"]


def _apart(inside, *words):
    argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", inside, "sh", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_script_follows_only_what_was_begun():
    command = activation.follow(ORDER)
    ended = subprocess.run(
        ["/bin/sh", "-c", command], input=activation.script(), capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "nixhive ab12 gone\n")


SWITCH = r"""#!/bin/sh
echo 'stopping the following units: a.service'
echo
echo 'activating the configuration...'
echo 'Pre-switch check boot failed' >&2
echo 'kernel : 6.1 -> 6.6'
printf 'no end of line'
exit 4
"""
SAID = "stopping the following units: a.service\n\nactivating the configuration...\nPre-switch check boot failed\n"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("awk", ["", "none", "breaks"])
def test_what_an_activation_says_is_heard_whoever_reads_it(shell, awk, tmp_path):
    """By awk as it comes; where there is none, or it breaks, from the log. Twice, as only the last words count."""
    programs, system = tmp_path / "programs", tmp_path / "system"
    for folder in (programs, system / "bin"):
        folder.mkdir(parents=True)
    for name in ("cat", "grep", "head", "mkfifo", "sed", "sleep", "tail", "timeout", "tr", "wc"):
        (programs / name).symlink_to(shutil.which(name))
    for name in () if awk else ("awk", "mawk", "gawk"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    if awk == "breaks":
        (programs / "awk").write_text("#!/bin/sh\nsed '/^end of /Q'\nexit 1\n")
        (programs / "awk").chmod(0o755)
    switch = system / "bin" / "switch-to-configuration"
    switch.write_text(SWITCH)
    switch.chmod(0o755)
    told = f'printf "%s\n" "$status" $heard "$whys" >>{tmp_path}/told'
    text = (
        f'PATH={programs} id=ab12 dir={tmp_path} limit=9 unended= acts=0; : >"$dir/log"; exec >>"$dir/log" 2>&1\n'
        f'note "holds a b"; switch_to {system} test; {told}; note "tested 4"\n'
        f"echo '#!/bin/sh\necho Could not acquire lock' >{switch}; switch_to {system} boot; {told}\n"
    )
    functions = activation.script().partition("\nmode=$1")[0]
    subprocess.run([shell, "-c", f"{functions}\n{text}"], check=True, timeout=60, stdin=subprocess.DEVNULL)
    first = ["4", "activating", "checking", "Pre-switch check boot failed;kernel : 6.1 -> 6.6;"]
    assert (tmp_path / "told").read_text().splitlines() == [*first, "0", "locked", ""]
    log = (tmp_path / "log").read_text()
    assert log.startswith(f"nixhive ab12 holds a b\n{SAID}kernel : 6.1 -> 6.6\nno end of line\nnixhive ab12 tested 4\n")
