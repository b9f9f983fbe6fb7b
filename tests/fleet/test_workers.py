"""Workers of Dask beside the relays of a practice fleet: real ones, which are killed in the middle."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections import Counter
from signal import SIGINT, SIGKILL, SIGSTOP

import pytest

from nixhive_nb import Hive
from nixhive_nb.errors import OptionError, RunFailed
from nixhive_nb.workers.placing import chosen
from tests.fleet.faults import saw
from tests.fleet.links import slow_to
from tests.fleet.sites import HELD, LEAVES, SITES, Sites
from tests.notebook.conftest import Shell
from tests.practice import read_until
from tests.sshd import eventually

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240)]

HOST = "east-1"
KIB = 1500
EAST = ("east", "stand-in")
"""The workers of one site."""
WORKER = "a worker of Dask is killed (-9) {}, and there is another one of its site"
HANGS = "a worker of Dask hangs {}, and there is another one of its site"
"""How rows of docs/reliability.md begin."""
A_HOST = 8_000
"""Bytes a host in which two runs may differ: acknowledgements, and a question more or less."""


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    one = Sites(tmp_path_factory.mktemp("sites"))
    try:
        for name in SITES:
            one.start_worker(name)
        one.start_worker("stand-in", "--for", "east", at="east")
        yield one
    finally:
        one.close()


def seen(sites, fault, **outcomes):
    """Say how each instance of the last run ended (`east_1` is east-1), here and on the page."""
    found = sites.outcomes()
    assert found == {name.replace("_", "-"): outcome for name, outcome in outcomes.items()}
    saw(fault, "; ".join(f"{name}: {outcome}" for name, outcome in sorted(found.items())))


@pytest.fixture
def hive(sites, monkeypatch):
    """Have Python, or a notebook, in the folder of the deployment, and take leave of workers afterwards."""
    monkeypatch.chdir(sites.fleet.folder)
    sites.write()
    yield
    from nixhive_nb.workers import cluster

    cluster.leave_all()


def test_each_worker_reaches_its_own_hosts_and_this_machine_none_of_those(sites):
    for name, leaves in SITES.items():
        assert [host for host in sites.hosts if sites.reaches(host, name)] == sorted((name, *leaves))
    assert not any(map(sites.reaches, (*SITES, *LEAVES)))


def test_a_deploy_goes_by_the_workers_and_again_changes_nothing(sites, monkeypatch):
    """No shell of the user's takes part, whose start-up files may do anything."""
    monkeypatch.setenv("SHELL", "/bin/false")
    sites.write()
    first = sites.deploy("--canary", "1", "--batch", "2", "*-*")
    assert first.returncode == 0, first.stderr
    assert sites.is_confirmed(*LEAVES)
    assert set(sites.outcomes().values()) == {"done"}
    assert re.search(rf"worker {chosen('east-1', EAST)}: \d+ steps on .*east-1", first.stderr)
    assert re.search(r"worker west: \d+ steps on .*west-1", first.stderr)
    assert "this machine:" not in first.stderr
    again = sites.deploy("*-*")
    assert again.returncode == 0, again.stderr
    assert set(sites.outcomes().values()) == {"unchanged"}
    own = [(sites.cluster.folder / f"{name}-own.log").read_text() for name in SITES]
    assert all("Authentication (publickey) successful" in text for text in own)


def test_the_same_faults_end_as_without_workers_with_as_many_bytes_and_logins(sites):
    """One host is off, and a check does not hold on another, in the first wave of two."""
    hosts = [name for name in (*SITES, *LEAVES) if name != "south-1"]
    fails = {"west-1": 'checks.never = { command = [ "false" ]; timeout = 1; };'}
    seen = {}
    sites.have_systems()
    sites.lab.stop_host("south-1")
    try:
        for on in (False, True):
            sites.write(kib=200, more=fails)
            logins, got = sites.logins(hosts), sites.got(hosts)
            with contextlib.nullcontext() if on else sites.near():
                ended = sites.deploy("--batch", "3", "east-1", "west-1", "south-1", "east-2", on=on)
            assert ended.returncode == 1, ended.stderr
            after = sites.logins(hosts), sites.got(hosts)
            came = [
                {name: now[name] - then[name] for name in hosts} for now, then in zip(after, (logins, got), strict=True)
            ]
            seen[on] = sites.outcomes(), *came
    finally:
        sites.lab.start_host("south-1")
    assert seen[True][0] == seen[False][0]
    assert set(seen[True][0]) == set(LEAVES)
    assert seen[True][1] == seen[False][1]
    for name, most in seen[False][2].items():
        assert seen[True][2][name] <= 1.02 * most + A_HOST, (name, seen)


def test_a_push_to_a_relay_that_neither_a_worker_nor_this_machine_reaches_says_so(sites):
    sites.write(more={"west-1": 'store = "ssh://portico";'})
    ended = sites.deploy("west-1")
    assert ended.returncode == 1
    assert re.search(r"push:leaf>ssh://portico: failed.*No worker is near portico, so this machine", ended.stderr)


def test_a_worker_that_is_killed_in_an_activation_is_followed_by_another_one(sites):
    sites.write(script=HELD)
    before = sites.fleet.runs(HOST)
    here, go_on = sites.hold(HOST)
    ended = sites.begin_aside("--confirm", "60", "east-*")
    here()
    carrier = chosen(HOST, EAST)
    sites.cluster.kill(carrier)
    go_on()
    said = ended()
    sites.start_worker(carrier, "--for", "east", at="east")
    assert said.returncode == 0, said.stderr
    assert before != sites.fleet.runs(HOST)
    assert sites.is_confirmed("east-1", "east-2")
    seen(sites, WORKER.format("in an activation"), east_1="done", east_2="done")


def test_a_worker_that_is_killed_before_an_activation_has_come_to_its_host_has_it_begun_by_another(sites):
    """The only worker of a site: it is frozen when the activation is sent, and never wakes."""
    sites.write(script=HELD)
    here, go_on = sites.hold("south-1")
    process = sites.begin("--batch", "1", "--wait", "0", "south-1", "west-1")
    read_until(process, "fetch:west-1: done")  # all that comes before it goes by that worker too
    here()
    frozen = sites.cluster.workers["west"]
    frozen.send_signal(SIGSTOP)
    go_on()
    read_until(process, "activate:west-1: started")
    sites.cluster.kill("west")
    sites.start_worker("west")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert sites.is_confirmed("west-1", "south-1")
    fault = "the only worker of Dask of a site is killed (-9) before an activation has come to its host, and started"
    seen(sites, fault, west_1="done", south_1="done")


@pytest.mark.parametrize(
    ("reader", "copy", "signal"),
    [("east", "a push", SIGKILL), (HOST, "a fetch", SIGKILL), (HOST, "a fetch", SIGSTOP)],
    ids=["a push", "a fetch", "a fetch, stopped"],
)
def test_a_worker_that_is_killed_or_hangs_in_a_copy_costs_nothing(sites, reader, copy, signal):
    """What only moves content is done again, by another one; each instance ends once. One that hangs is waited for."""
    sites.write(kib=KIB)
    begun = sites.got([reader])[reader]
    with slow_to(sites.fleet, reader):
        ended = sites.begin_aside("east-*")
        eventually(lambda: sites.got([reader])[reader] - begun > 300 * KIB, "the middle of the copy", 60)
        carrier = chosen(reader, EAST)
        sites.cluster.workers[carrier].send_signal(signal)
    said = ended()
    sites.cluster.kill(carrier)
    sites.start_worker(carrier, "--for", "east", at="east")
    assert said.returncode == 0, said.stderr
    ends = Counter(re.findall(r"^activate:(\S+): (?:done|failed|skipped)", said.stderr, re.MULTILINE))
    assert ends == {"east-1": 1, "east-2": 1}
    assert sites.is_confirmed("east-1", "east-2")
    fault = WORKER if signal == SIGKILL else HANGS
    seen(sites, fault.format(f"in {copy}"), east_1="done", east_2="done")


def test_a_scheduler_that_is_started_again_in_an_activation_gets_its_workers_back(sites):
    sites.write(script=HELD)
    before = sites.fleet.runs(HOST)
    here, go_on = sites.hold(HOST)
    ended = sites.begin_aside("--confirm", "60", "*-*")
    here()
    times = {name: sites.cluster.said(name).count(" is ready") + 1 for name in sites.cluster.workers}
    sites.cluster.end_scheduler()
    sites.cluster.start_scheduler()
    for name, often in times.items():
        eventually(lambda name=name, often=often: sites.cluster.is_ready(name, often), f"worker {name} again", 60)
    go_on()
    said = ended()
    assert said.returncode == 0, said.stderr
    assert before != sites.fleet.runs(HOST)
    assert sites.is_confirmed(*LEAVES)
    done = dict.fromkeys((name.replace("-", "_") for name in LEAVES), "done")
    seen(sites, "the scheduler of Dask is killed (-9) in an activation, and started again", **done)


def nothing_is_left(sites):
    eventually(lambda: not sites.connected(list(LEAVES)), "the end of all connections to hosts")


def test_an_interrupt_lets_a_running_activation_end_and_starts_no_other(sites):
    sites.write(script=HELD)
    here, go_on = sites.hold(HOST)
    process = sites.begin("--batch", "1", "east-1", "west-1")
    here()
    process.send_signal(SIGINT)
    read_until(process, "Stopping: ")
    go_on()
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    seen(sites, "a first interrupt during an activation, over workers of Dask", east_1="done", west_1="cancelled")
    assert sites.is_confirmed("east-1")
    nothing_is_left(sites)


def test_a_second_interrupt_leaves_at_once_and_nothing_of_it_on_hosts_and_workers(sites):
    sites.have_systems()
    sites.write(script=HELD)
    before = sites.fleet.runs(HOST)
    here, go_on = sites.hold(HOST)
    process = sites.begin("--confirm", "1", "--batch", "1", "east-1", "west-1")
    here()
    process.send_signal(SIGINT)
    read_until(process, "Interrupt again")
    process.send_signal(SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    seen(sites, "a second interrupt during an activation, over workers of Dask", east_1="unknown", west_1="cancelled")
    nothing_is_left(sites)
    go_on()
    sites.lab.exec(HOST, ["flock", "/run/nixhive/lock", "true"])
    assert sites.fleet.runs(HOST) == before


def test_a_command_of_the_users_goes_by_workers_with_its_input_its_streams_and_its_end(sites):
    sites.write()
    words = ("run", "-c", "example", *sites.cluster.on, "--json")
    script = "head -c 3000000 /dev/zero | tr '\\0' x; echo out; echo err >&2; exit 3"
    ended = sites.fleet.nix_hive(*words, "*-*", script)
    rows = json.loads(ended.stdout)
    assert [row["exit_code"] for row in rows] == [3] * len(LEAVES)
    assert all(row["stdout"].endswith("xout\n") and row["stderr"] == "err\n" for row in rows)


def test_an_interrupt_ends_a_command_of_the_users_on_its_hosts(sites):
    sites.write()
    process = sites.fleet.begin("run", "-c", "example", *sites.cluster.on, "*-*", "echo it >/var/runs; exec sleep 1234")
    eventually(lambda: all(sites.written(leaf, "runs") for leaf in LEAVES), "the command", 60)
    process.send_signal(SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    nothing_is_left(sites)
    assert not any(sites.on(LEAVES, "pgrep -f '[s]leep 1234' || true"))


@pytest.fixture
def client(sites):
    """A client of Dask, as somebody has who works with it already."""
    files = {f"tls_client_{part}": str(sites.cluster.tls / f"{part}.pem") for part in ("cert", "key")}
    security = distributed.Security(tls_ca_file=str(sites.cluster.tls / "ca.pem"), require_encryption=True, **files)
    with distributed.Client(sites.cluster.address, security=security, set_as_default=False) as one:
        yield one


def comes_in(door, host):
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(door))
        asking.sendall(f"{host}\n".encode())
        return asking.makefile("rb").readline() == b"\n"


def test_what_runs_beside_each_other_in_a_program_has_connections_of_its_own(sites, hive, client):
    """A run in the background, and commands meanwhile: when one ends, the other goes on."""
    with Hive.load("example", on=client) as loaded:
        here, first, second = loaded._work, loaded._work.apart(), loaded._work.apart()
        doors = [one.files.folder / "workers" for one in (here, first, second)]
        assert all(comes_in(door, HOST) for door in doors)
        second.close()
        assert [comes_in(door, HOST) for door in doors[:2]] == [True, True]
        first.close()
    nothing_is_left(sites)


@pytest.mark.parametrize(("now", "outcome"), [(False, "done"), (True, "unknown")])
def test_with_a_client_of_dask_a_run_in_the_background_is_cancelled_from_python(sites, hive, client, now, outcome):
    sites.have_systems()
    sites.write(script=HELD)
    before = sites.fleet.runs(HOST)
    here, go_on = sites.hold(HOST)
    with Hive.load("example", on=client) as loaded:
        run = loaded.begin(loaded.plan("deploy", "east-1", "west-1", batch=1, confirm=1 if now else 60))
        here()
        run.cancel(now=now)
        if not now:
            go_on()
        with pytest.raises(RunFailed):
            run.wait()
        ended = run.report.frame["outcome"].to_dict()
    assert ended == {"east-1": outcome, "west-1": "cancelled"}
    nothing_is_left(sites)
    if now:
        go_on()
        sites.lab.exec(HOST, ["flock", "/run/nixhive/lock", "true"])
        assert sites.fleet.runs(HOST) == before
    client.close()
    with pytest.raises(OptionError, match="this Dask client is closed"):
        Hive.load("example", on=client)


def test_a_notebook_deploys_over_workers_that_are_said_once_or_with_each_command(sites, hive):
    shell = Shell()
    shell.run("%load_ext nixhive_nb")
    try:
        on = " ".join(sites.cluster.on)
        shell.run(f"report = %hive deploy -c example {on} --yes west-1")
        assert shell["report"]["outcome"].to_dict() == {"west-1": "done"}
        shell.run("status = %hive status west-1")
        assert "cannot be reached" in shell["status"].error["west-1"]
        shell.run(f"%hive load example {on}")
        shell.run("again = %hive deploy --yes west-1 south-1")
        assert shell["again"]["outcome"].to_dict() == {"west-1": "unchanged", "south-1": "done"}
    finally:
        shell.run("%unload_ext nixhive_nb")
