"""`nix-eval-jobs` in place of our own processes: the same results, told one by one, and nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from nixhive_nb import Hive, Limits
from nixhive_nb.nix.eval_jobs import PROGRAM, EvalJobs
from nixhive_nb.plan.events import StepLine
from nixhive_nb.ssh.config import _OURS
from tests.deployment.sources.hives import NIXPKGS
from tests.deployment.sources.test_deploy_rs import deploy
from tests.deployment.sources.test_flake import flake
from tests.deployment.sources.test_morph import network

pytestmark = pytest.mark.nix

STAND_IN = Path(__file__).with_name("eval_jobs_program.py")
REAL = shutil.which(PROGRAM)
NODES = '"a.b" = { }; www = { }; bad = { networking.hostName = throw "bad is broken"; };'
SYSTEM = 'nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ { networking.hostName = "x"; } ]; }'
BROKEN = SYSTEM.replace('"x"', 'throw "bad is broken"')


def colmena(folder):
    (folder / "hive.nix").write_text(f"{{ meta.nixpkgs = import {NIXPKGS} {{ }}; {NODES} }}")
    return folder / "hive.nix"


FORMS = {
    "morph": lambda folder: network(folder, f'"1" = {{ }}; {NODES}'),
    "colmena": colmena,
    "colmena in a flake": lambda folder: flake(
        folder, f'colmena = {{ meta.nixpkgs = import nixpkgs {{ system = "x86_64-linux"; }}; {NODES} }};'
    ),
    "flake": lambda folder: flake(
        folder, f'nixosConfigurations = {{ "a.b" = {SYSTEM}; www = {SYSTEM}; bad = {BROKEN}; }};'
    ),
    "deploy-rs": lambda folder: deploy(
        folder, "".join(f'nodes.{name}.profiles.system.path = activate {value};nodes.{name}.hostname = "{name}";'
                        for name, value in (("a", "www"), ("b", "www"), ("bad", '(throw "bad is broken")'))),
    ),
}  # fmt: skip


def program(folder: Path, monkeypatch, text: str = "") -> Path:
    """Put a program before all others, by default the stand-in, and return the file with what it is started with."""
    (folder / "bin").mkdir()
    file = folder / "bin" / PROGRAM
    file.write_text(f"#!{sys.executable}\n{text or STAND_IN.read_text()}")
    file.chmod(0o755)
    words = folder / "bin" / "words"
    words.touch()
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NIXHIVE_TEST_WORDS", str(words))
    return words


def evaluated(place: Path, **limits):
    """Return what each system evaluates to, or why not, and the lines that were told."""
    told = []

    @contextlib.contextmanager
    def follow(run):
        run.subscribe(lambda event: told.append(event.text) if isinstance(event, StepLine) else None)
        yield

    with Hive.load(place, limits=Limits(evaluations=2, **limits)) as hive:
        plan = hive.plan("build", "*", no=["realise"], follow=follow)
    return {one.system: (one.path, one.derivation, one.error) for one in plan.wanted}, told


@pytest.mark.parametrize("form", FORMS)
def test_systems_are_the_same_with_it_and_one_that_is_broken_fails_alone(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    place = FORMS[form](tmp_path)
    without, _ = evaluated(place, eval_jobs="no")
    words = program(tmp_path, monkeypatch)
    found, told = evaluated(place)
    assert (found, [line for line in told if PROGRAM in line]) == (without, [])
    assert [name for name, (*_, error) in found.items() if "bad is broken" in error] == ["bad"]
    started = [json.loads(line) for line in words.read_text().splitlines()]
    assert [one[:5] for one in started] == [["--workers", "2", "--max-memory-size", "3072", "--gc-roots-dir"]]
    roots = Path(started[0][5])
    assert roots.name.startswith(_OURS), "it would stay where we are killed"
    assert not roots.exists()


@pytest.mark.skipif(REAL is None, reason=f"{PROGRAM} is not installed")
@pytest.mark.parametrize("form", ["morph", "colmena"])
def test_systems_are_the_same_with_the_real_one(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    place = FORMS[form](tmp_path)
    found, told = evaluated(place)
    assert [line for line in told if PROGRAM in line] == []
    assert found == evaluated(place, eval_jobs="no")[0]
    assert "bad is broken" in found["bad"][2]


def test_what_evaluation_is_told_passes_through(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = FORMS["flake"](tmp_path)
    words = program(tmp_path, monkeypatch)
    how = {"impure": True, "override_inputs": {"nixpkgs": f"path:{NIXPKGS}"}, "options": {"cores": "1"}}
    with Hive.load(place, **how) as hive:
        hive.plan("build", "*", no=["realise"])
    started = json.loads(words.read_text())
    assert "--impure" in started
    assert all(
        any(started[at : at + 3] == wanted for at in range(len(started)))
        for wanted in (["--override-input", "nixpkgs", f"path:{NIXPKGS}"], ["--option", "cores", "1"])
    )


BAD = {
    "it printed what is no job": "print('no JSON')",
    "it could not evaluate the whole": """print('{"attr": "", "attrPath": [], "error": "error: broken"}')""",
    "it ended early, with status 1": "raise SystemExit(1)",
    "it ended early, with status 0": "pass",
    "signal 9 ended it": "import os; os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("why", BAD)
def test_what_it_does_not_tell_of_is_evaluated_without_it_and_that_is_said_once(tmp_path, monkeypatch, why):
    place = network(tmp_path, NODES)
    without, _ = evaluated(place, eval_jobs="no")
    program(tmp_path, monkeypatch, BAD[why])
    found, told = evaluated(place)
    assert found == without
    assert [line for line in told if PROGRAM in line] == [
        f"{PROGRAM}: {why}. What it has not evaluated is evaluated without it."
    ]


def test_of_one_that_ends_in_the_middle_what_it_told_counts(tmp_path, monkeypatch):
    place = network(tmp_path, NODES)
    without, _ = evaluated(place, eval_jobs="no")
    text = STAND_IN.read_text().replace("flush=True)\n\n\ndef", "flush=True)\n        raise SystemExit(3)\n\n\ndef")
    program(tmp_path, monkeypatch, text)
    found, told = evaluated(place)
    assert found == without
    assert [line for line in told if "status 3" in line]


def test_a_version_that_cannot_evaluate_a_flake_is_left(tmp_path, monkeypatch):
    place = FORMS["flake"](tmp_path)
    without, _ = evaluated(place, eval_jobs="no")
    words = program(tmp_path, monkeypatch, STAND_IN.read_text().replace("--select     ", "--other      "))
    found, told = evaluated(place)
    assert (found, words.read_text()) == (without, "")
    assert [line for line in told if "this version has no --select" in line]


def test_a_mistake_in_the_whole_is_told_as_without_it(tmp_path, monkeypatch):
    place = network(tmp_path, 'www = { }; db = { }; defaults = { ... }: { networking.hostName = throw "of all"; };')
    without, _ = evaluated(place, eval_jobs="no")
    program(tmp_path, monkeypatch)
    assert evaluated(place)[0] == without
    assert all("of all" in error for *_, error in without.values())


def test_more_names_than_a_word_of_a_program_may_have_are_evaluated_without_it():
    """Names may have letters of several bytes."""
    jobs = EvalJobs(["a", "b"], ["é" * 60_000], workers=1, memory=2**30)
    assert asyncio.run(jobs.of(["a"], print)) == {}
    assert jobs.why_ended == "there are too many systems for it"


WAITING = """
import json, os, sys
line = {"drvPath": "/nix/store/x.drv", "outputs": {"out": "/nix/store/x"}}
print(json.dumps({"attr": "n000000", **line}), flush=True)
open(os.environ["NIXHIVE_TEST_WORDS"], "w").write(str(os.getpid()))
with open(os.environ["NIXHIVE_TEST_WORDS"] + ".fifo") as fifo: fifo.read()
print(json.dumps({"attr": "n000001", **line}), flush=True)
"""


def test_a_system_is_told_while_others_are_evaluated(tmp_path, monkeypatch):
    words = program(tmp_path, monkeypatch, WAITING)
    os.mkfifo(f"{words}.fifo")
    jobs, done = EvalJobs(["a", "b"], ["file"], workers=1, memory=2**30), []

    async def main():
        first = await jobs.of(["a"], done.append)
        assert (list(first), done) == (["a"], ["a"])
        await asyncio.to_thread(Path(f"{words}.fifo").write_text, "go on")
        return await jobs.of(["b"], done.append)

    assert (list(asyncio.run(main())), done, jobs.why_ended) == (["b"], ["a", "b"], "")


def test_an_interrupt_ends_it(tmp_path, monkeypatch):
    words = program(tmp_path, monkeypatch, WAITING)
    os.mkfifo(f"{words}.fifo")
    jobs = EvalJobs(["a", "b"], ["file"], workers=1, memory=2**30)

    async def main():
        await jobs.of(["a"], print)
        waiting = asyncio.create_task(jobs.of(["b"], print))
        # It opens this only to read on, after it has told its process id.
        writer = await asyncio.to_thread(os.open, f"{words}.fifo", os.O_WRONLY)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        os.close(writer)

    asyncio.run(main())
    with pytest.raises(ProcessLookupError):
        os.kill(int(words.read_text()), 0)
