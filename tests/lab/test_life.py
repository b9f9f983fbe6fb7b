"""A fleet's beginning and end: it leaves nothing behind, however its owner ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nixhive_nb.lab import HostSpec, Lab, LabError, fleet, network

pytestmark = pytest.mark.fleet

OWNER = """
import os, sys
from nixhive_nb.lab import HostSpec, Lab
folder, keep, die_at, init = sys.argv[1], sys.argv[2] == "keep", sys.argv[3], sys.argv[4]
def progress(message):
    if message.startswith(die_at):
        os.kill(os.getpid(), 9)
specs = [HostSpec("depot", "depot", disk="4M", init=init)]
lab = Lab.up(folder, web=1, specs=specs, keep=keep, deployment=os.path.dirname(folder), on_progress=progress)
print(0 if keep else lab._watch.process.pid, flush=True)
sys.stdin.read()
"""


class Traces:
    """What a fleet put on this machine, remembered while it is there."""

    def __init__(self, lab: Lab) -> None:
        self.folder, self.link = lab.folder, lab.link
        self.namespaces = {status.netns for status in lab.status()}
        self.pids = {status.pid for status in lab.status() if status.pid}

    def left(self) -> list[str]:
        found = [f"namespace {name}" for name in self.namespaces if Path("/run/netns", name).exists()]
        found += [f"process {pid}" for pid in self.pids if is_alive(pid)]
        found += [f"link {self.link}"] if Path("/sys/class/net", self.link).exists() else []
        found += [f"folder {self.folder}"] if self.folder.exists() else []
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{self.folder}/" in line]
        found += processes_naming(self.folder)
        claim = Path("/run/nixhive-lab", self.link.removeprefix("nixhive"))
        return found + ([f"claim {claim}"] if claim.exists() else [])


def is_alive(pid: int) -> bool:
    """Whether a process runs. A dead one may stay listed until init gets round to it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def processes_naming(folder: Path) -> list[str]:
    """Helpers and hosts of a fleet, as they have its folder on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            if f"{folder}" in words and int(entry.name) != os.getpid():
                found.append(f"process {entry.name}: {words!r}")
    return found


def start_owner(folder: Path, keep: str = "bound", die_at: str = "never", init: str = "light") -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", OWNER, str(folder), keep, die_at, init]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_down_leaves_nothing(tmp_path):
    specs = [HostSpec("depot", "depot", disk="4M"), HostSpec("www-1", "www", user="deploy")]
    with Lab.up(tmp_path / "lab", web=1, specs=specs) as lab:
        traces = Traces(lab)
        assert len(traces.pids) == 3
        assert len(traces.left()) > 8
    assert traces.left() == []
    lab.down()
    with pytest.raises(LabError, match="no practice fleet"):
        Lab.open(tmp_path / "lab")


def test_fleets_live_side_by_side(tmp_path):
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda name: Lab.up(tmp_path / name, web=1), ["one", "two"])
    with second:
        with first:
            assert first.link != second.link
            traces = Traces(first)
        assert traces.left() == []
        assert all(status.running for status in second.status())
        assert second.exec("www-1", ["hostname"]) == "www-1\n"


def test_a_fleet_is_found_again_by_its_folder(tmp_path):
    with Lab.up(tmp_path / "lab", web=1) as lab:
        again = Lab.open(tmp_path / "lab")
        assert again.status() == lab.status()
        assert again.public_key == lab.public_key
        assert again.exec("depot", ["hostname"]) == "depot\n"
        with pytest.raises(LabError, match="up already"):
            Lab.up(tmp_path / "lab")
        assert lab.exec("depot", ["hostname"]) == "depot\n"


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(LabError, match="not empty"):
        Lab.up(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_keys_are_private(tmp_path):
    with Lab.up(tmp_path / "lab", web=0) as lab:
        assert lab.signing_key.stat().st_mode & 0o777 == 0o600
        assert lab.identity.stat().st_mode & 0o777 == 0o600
        assert lab.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_owner_dies_the_fleet_goes(tmp_path, how):
    owner = start_owner(tmp_path / "lab")
    keeper = os.pidfd_open(int(owner.stdout.readline()))
    traces = Traces(Lab.open(tmp_path / "lab"))
    assert traces.pids
    owner.send_signal(how)
    owner.wait()
    ended = select.poll()
    ended.register(keeper, select.POLLIN)
    assert ended.poll(30_000), "the keeper did not end"
    os.close(keeper)
    assert traces.left() == []
    assert not (tmp_path / "lab.nix").exists()


def test_a_fleet_that_is_kept_outlives_its_owner(tmp_path):
    owner = start_owner(tmp_path / "lab", keep="keep")
    assert owner.stdout.readline() == "0\n"
    owner.kill()
    owner.wait()
    with Lab.open(tmp_path / "lab") as lab:
        traces = Traces(lab)
        assert all(status.running for status in lab.status())
        assert lab.exec("www-1", ["hostname"]) == "www-1\n"
    assert traces.left() == []
    assert not (tmp_path / "lab.nix").exists()


@pytest.mark.parametrize("message", ["preparing", "starting", "3 hosts are up"])
def test_down_after_a_crash_on_the_way_up(tmp_path, message):
    owner = start_owner(tmp_path / "lab", keep="keep", die_at=message)
    assert owner.wait(30) == -signal.SIGKILL
    lab = Lab.open(tmp_path / "lab")
    traces = Traces(lab)
    assert (len(traces.pids) == 3) == (message == "3 hosts are up")
    lab.down()
    assert traces.left() == []
    lab.down()


@pytest.mark.parametrize("seconds", [0.2, 0.3, 0.4, 0.5, 0.6, 0.8])
def test_down_after_a_crash_at_any_moment(tmp_path, seconds):
    owner = start_owner(tmp_path / "lab", keep="keep")
    with contextlib.suppress(subprocess.TimeoutExpired):
        owner.wait(seconds)
    owner.kill()
    owner.wait()
    if (tmp_path / "lab" / "lab.json").exists():
        lab = Lab.open(tmp_path / "lab")
        traces = Traces(lab)
        lab.down()
        assert traces.left() == []
    # The next fleet in the same folder comes up whatever was left.
    with Lab.up(tmp_path / "lab", web=0) as lab:
        assert all(status.running for status in lab.status())


def test_down_when_hosts_were_killed(tmp_path):
    with Lab.up(tmp_path / "lab", web=2) as lab:
        traces = Traces(lab)
        victim = next(status for status in lab.status() if status.instance == "www-1")
        gone = os.pidfd_open(victim.pid)
        os.kill(victim.pid, signal.SIGKILL)
        waiter = select.poll()
        waiter.register(gone, select.POLLIN)
        assert waiter.poll(10_000)
        os.close(gone)
        assert [status.instance for status in lab.status() if not status.running] == ["www-1"]
    assert traces.left() == []


def test_lab_nix_comes_and_goes(tmp_path, need_nix):
    example = Path(__file__).parents[2] / "example"
    deployment = tmp_path / "deployment"
    deployment.mkdir()
    for source in example.glob("*.nix"):
        if source.name != "lab.nix":
            (deployment / source.name).write_text(source.read_text())
    with Lab.up(tmp_path / "lab", web=4, deployment=deployment) as lab:
        text = evaluate(deployment, "toString (builtins.attrNames instances)")
        assert text == "depot portico www-1 www-2 www-3 www-4"
        portico = next(status for status in lab.status() if status.instance == "portico")
        assert evaluate(deployment, "instances.portico.ssh.Hostname") == portico.address
        assert evaluate(deployment, "builtins.head instances.portico.hostKeys") == portico.host_key
        assert evaluate(deployment, "instances.www-4.ssh.ProxyJump") == "portico"
        assert evaluate(deployment, "paths.nixpkgs") == str(lab.nixpkgs)
        assert evaluate(deployment, "signing.keyFile") == str(lab.signing_key)
    assert not (deployment / "lab.nix").exists()
    assert evaluate(deployment, "signing.keyFile") == "/root/keys/hive-signing.secret"
    assert evaluate(deployment, "toString (builtins.attrNames instances)") == "depot portico www-1 www-2 www-3"


def test_another_fleets_lab_nix_stays(tmp_path):
    with Lab.up(tmp_path / "lab", web=0, deployment=tmp_path):
        (tmp_path / "lab.nix").write_text("# somebody else's\n{ }\n")
    assert (tmp_path / "lab.nix").read_text() == "# somebody else's\n{ }\n"


def evaluate(deployment: Path, expression: str) -> str:
    done = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "-E", f"with import {deployment}; {expression}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().strip('"')


def test_a_link_that_somebody_else_made_is_left_alone_and_another_number_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a container that has a /run of its own and this machine's network.
    second = tmp_path / "second"
    second.mkdir()
    with Lab.up(tmp_path / "first", web=0) as first:
        taken = int(first.link.removeprefix("nixhive"))
        with monkeypatch.context() as container:
            container.setattr(network, "_CLAIMS", tmp_path / "claims")
            container.setattr(network, "free_numbers", lambda: iter([taken, 250]))
            record = fleet._register(second, (), None)
            try:
                assert record.number == 250
                assert network.read_claim(taken) is None
            finally:
                network.release(250, record.token)
        assert all(host.running for host in first.status())
        assert first.exec("portico", ["cat", "/sys/class/net/eth0/operstate"]).strip() == "up"
