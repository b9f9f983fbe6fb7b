"""Commands on hosts: `true` where connections are warm and where they are cold, what status asks, and much output."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks import bases
from benchmarks.deploys import without_answer
from benchmarks.harness import Line, Outcome, Row, Way
from benchmarks.setting import PROGRAM, quietly

if TYPE_CHECKING:
    from benchmarks.setting import Setting

_FEW = 6
_TALKERS = 4
_SAID = 100 * 1000 * 1000
_TALK = f"yes 'A line of some length, as logs have them: nothing is the matter here.' | head -c {_SAID}"
_MEASURED = """
import json, resource, sys
from nixhive_nb import Hive
with Hive.load({example!r}, state={state!r}) as hive:
    frame = hive.run({hosts!r}, {command!r})
    assert list(frame["exit_code"]) == [0] * len({hosts!r}), frame
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
"""


def warm(setting: Setting) -> list[Way]:
    """Return the ways to run `true` over connections that are there."""
    fleet = setting.fleet()
    hosts = len(fleet.web)
    fleet.hive.run("web", "true")
    bases.open_masters(fleet)
    bare = setting.keep(bases.Bare(fleet))
    ways = [
        Way("API", without_answer(lambda: fleet.hive.run("web", "true")), hosts),
        Way("bare paramiko", lambda: bare.run("true"), hosts),
        Way("masters, xargs -P32", lambda: bases.loop(fleet.master_config, 32, fleet.web, "true"), hosts),
    ]
    if clush := setting.peer("clush"):
        ways.append(Way("clush -f32", lambda: bases.clush(clush, fleet.master_config, 32, fleet.web), hosts))
    if ansible := setting.peer("ansible"):
        ways.append(Way("ansible -f32", lambda: bases.ansible(ansible, fleet.master_config, 32, fleet.web), hosts))
    return ways


def cold(setting: Setting) -> list[Way]:
    """Return the ways to log in and run `true`. Loops have a kept link to the jump host, our program has nothing."""
    fleet = setting.fleet()
    hosts, few = len(fleet.web), fleet.web[:_FEW]
    bases.open_jump(fleet)
    ways = [
        Way("program", without_answer(lambda: fleet.program("run", "web", "true")), hosts),
        Way("xargs -P16", lambda: bases.loop(fleet.jump_config, 16, fleet.web, "true"), hosts),
        Way("reference", lambda: bases.one_by_one(fleet, few, "true"), len(few)),
    ]
    if clush := setting.peer("clush"):
        ways.append(Way("clush -f16", lambda: bases.clush(clush, fleet.jump_config, 16, fleet.web), hosts))
    if ansible := setting.peer("ansible"):
        ways.append(Way("ansible -f16", lambda: bases.ansible(ansible, fleet.jump_config, 16, fleet.web), hosts))
    if pyinfra := setting.peer("pyinfra"):
        ways.append(Way("pyinfra", lambda: bases.pyinfra(pyinfra, fleet, 8, fleet.web), hosts))
    return ways


def status(setting: Setting) -> list[Way]:
    """Return what asks all hosts how they are, warm, beside a command that says nothing."""
    fleet = setting.fleet()
    hosts = len(fleet.web)
    fleet.settle()
    fleet.hive.status("web")
    return [
        Way("status", without_answer(lambda: fleet.hive.status("web")), hosts),
        Way("run true", without_answer(lambda: fleet.hive.run("web", "true")), hosts),
        Way("plan --measure", without_answer(lambda: fleet.hive.plan("deploy", "web", measure=True)), hosts),
    ]


def output(setting: Setting) -> list[Way]:
    """Return the ways to get 100 MB from each of four hosts: into memory, bounded, or into files."""
    fleet = setting.fleet()
    few = fleet.web[:_TALKERS]
    target = fleet.folder / "said"
    target.mkdir(exist_ok=True)
    told = {"example": str(fleet.example), "state": str(fleet.folder / ".hive.state"), "hosts": list(few)}
    script = _MEASURED.format(**told, command=_TALK)

    def api() -> Outcome:
        ended = quietly([sys.executable, "-c", script], fleet.folder)
        return Outcome(value=json.loads(ended.stdout))

    def program() -> None:
        words = ["run", "-c", "example", f"@({' or '.join(few)})", _TALK]
        with (target / "program").open("wb") as file:
            subprocess.run([*PROGRAM, *words], cwd=fleet.folder, stdout=file, stderr=subprocess.PIPE, check=True)

    def ssh() -> Outcome:
        running = []
        for host in few:
            with (target / host).open("wb") as file:
                argv = ["ssh", "-F", str(fleet.config), host, _TALK]
                running.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file))
        return Outcome(tuple(host for host, one in zip(few, running, strict=True) if one.wait()))

    # Each logs in anew, and the time to start and to log in is in all of them.
    return [Way("API", api, len(few)), Way("program", program, len(few)), Way("ssh", ssh, len(few))]


ROWS = (
    Row(
        "run-warm",
        "`true` on each host, warm",
        (
            Line("API", "bare paramiko", "times", 1.3, "2.2 ×"),
            Line("API", "masters, xargs -P32", "faster", 1.5, "1.0 ×"),
        ),
        "Shell words on the hosts; Python is level with bare paramiko (1.0 × with `true` in place of our words). One "
        "`exec /bin/sh` is of login shells that are none, and two forks end a command when we are gone. Tried: without "
        "that exec 1.4 × (right only where the login shell is known), without what ends it 1.4 × (a promise less).",
        warm,
        hosts=100,
        rounds=7,
    ),
    Row(
        "run-cold",
        "`true` on each host behind a jump host, cold, as a program",
        (Line("program", "xargs -P16", "faster", 4, "2.5 ×"),),
        "The processors: a login costs 26 ms of them, 18 for the host's sshd and 8 for its client, on two cores all "
        "share, and the start of the program with its evaluation 0.5 s. Tried, at 60 hosts: 16 logins at once in place "
        "of 8 1.0 × the time, 4 1.1 ×; in a program that has started already 0.66 ×.",
        cold,
        hosts=100,
    ),
    Row(
        "status",
        "status, warm",
        (
            Line("status", "run true", "times", 1.5, "3.5 ×"),
            Line("plan --measure", "status", "times", 1.3, "3 ×"),
        ),
        "Programs that each host starts: `df`, `readlink`, `flock` and a hash of its id for what it says, and "
        "three for a shell that is what we left there and ends by itself; and an evaluation here each time, an eighth "
        "of it at 60 hosts. Tried, and kept: 4 programs in place of 14, and one packet for the answer in place of 11. "
        "Tried, and left: the kept words in the shell that is there 0.89 × (they would not end by themselves), without "
        "a look at their hash 0.80 × (a promise less), without the evaluation 0.87 ×.",
        status,
        hosts=100,
        rounds=5,
    ),
    Row(
        "output",
        "run of 4 × 100 MB of output",
        (
            Line("API", "ssh", "times", 1.5, "2.7 ×"),
            Line("program", "ssh", "times", 1.5, "5.5 ×"),
            Line("API", "", "least", 450e6, "919,000,000 B", "B at the peak"),
        ),
        "Half of the processor time here is the system's: sockets, new memory, and the log of what is more than "
        "`--max-output`; a third is the start of Python, pandas and Nix. The program prints beside that. Of a stream "
        "`--max-output` bytes are in memory, once. Tried, of the program: with `--max-output 1M` 1.3 × (less is "
        "shown), with no log beside it 1.7 ×, as with one.",
        output,
        hosts=4,
    ),
)
