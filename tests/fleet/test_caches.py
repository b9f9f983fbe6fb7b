"""Caches in place of relays: one that a server of HTTP keeps, one in a bucket, and one on a disk that all share."""

from __future__ import annotations

import functools
import json
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nixhive_nb.nix import commands
from nixhive_nb.util import process
from tests.fleet.faults import saw
from tests.practice import start

pytestmark = pytest.mark.fleet

PORT = 8080
SERVER = Path(__file__).with_name("cache_server.py")
SECRET = secrets.token_hex(20)


@pytest.fixture(scope="module")
def shared():
    """Return a folder that the hosts see as this machine does: a disk of its own, in the namespace of the tests."""
    place = Path("/srv")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "nixhive-shared", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, shared):
    one = start(tmp_path_factory.mktemp("fleet"), web=2)
    yield one
    one.lab.down()


@pytest.fixture(scope="module")
def cache(fleet):
    """Return the URL of a cache beside the hosts, for them and for this machine."""
    address = fleet.lab.exec("portico", ["sh", "-c", "ip -4 -o addr show br0 | awk '{print $4}'"]).partition("/")[0]
    where = {status.instance: status for status in fleet.lab.status()}
    subprocess.run(["ip", "route", "add", address, "via", where["portico"].address], check=True)
    inside = ["ip", "netns", "exec", where["portico"].netns]
    argv = [*inside, sys.executable, SERVER, str(fleet.folder / "kept"), str(PORT)]
    server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    server.stdin.write(f"{SECRET}\n")
    server.stdin.flush()
    assert server.stdout.readline() == "listens\n"
    yield f"http://{address}:{PORT}"
    server.terminate()
    server.communicate()


@functools.cache
def nix_has_s3():
    """Whether the Nix of this machine, and so that of the hosts, knows buckets, as Debian's 2.34 does."""
    asked = process.run(
        [*commands.NEW_COMMAND, "path-info", "--store", "s3://none?endpoint=127.0.0.1:9&scheme=http", "/"]
    )
    return "don't know how to open" not in asked.stderr


def bucket_of(cache, name):
    """Return the URL of a bucket, as Nix takes it: the server of the cache keeps what it is given by name."""
    if not nix_has_s3():
        pytest.skip("the Nix of this machine has no S3")
    return f"s3://{name}?region=eu-central-1&scheme=http&endpoint={cache.removeprefix('http://')}"


@pytest.fixture
def bucket(cache):
    return bucket_of(cache, "fleet-cache")


@pytest.fixture
def private_bucket(cache, monkeypatch):
    """Return one that is for those alone who sign, for a Nix that can, as Debian's cannot."""
    url = bucket_of(cache, "private")
    for name, value in (("AWS_ACCESS_KEY_ID", "FLEET"), ("AWS_SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(name, value)
    asked = process.run([*commands.NEW_COMMAND, "store", "info", "--store", url])
    if "403" in asked.stderr:
        pytest.skip("the Nix of this machine has S3 without credentials")
    return url


def use(fleet, store):
    """Have the web servers read from a store, in the deployment and on the hosts, and wish for one that none has."""
    system = fleet.example / "www.nix"
    system.write_text(
        re.sub(r"This is a web server[^\"]*", f"This is a web server {secrets.token_hex(4)}", system.read_text())
    )
    expression = fleet.example / "default.nix"
    expression.write_text(re.sub(r'store = "[^"]*"', f'store = "{store}"', expression.read_text()))
    for host in ("www-1", "www-2"):
        words = f"substituters = {store}".replace("&", "\\&")
        fleet.lab.exec(host, ["sed", "-i", f"s|^substituters = .*|{words}|", "/etc/nix/nix.conf"])


def test_a_cache_that_a_server_keeps_has_what_was_pushed_once_and_hosts_read_from_it(fleet, cache):
    use(fleet, cache)
    ended = fleet.nix_hive("deploy", "-c", "example", "www-*")
    assert ended.returncode == 0, ended.stderr
    assert f"push:www>{cache}: done" in ended.stderr
    for host in ("www-1", "www-2"):
        assert f"fetch:{host}: done (from relay)" in ended.stderr
        assert f"activate:{host}: done" in ended.stderr


def test_what_a_host_asked_for_before_it_was_pushed_is_there_afterwards(fleet, cache):
    """Case 34: Nix keeps the answer that a cache has no such path, for an hour."""
    use(fleet, cache)
    built = fleet.nix_hive("build", "-c", "example", "www")
    path = json.loads(built.stdout)["systems"]["www"]["result"]
    asked = fleet.lab.exec("www-1", ["sh", "-c", f"nix-store -r {path} 2>&1 || true"])
    assert "error" in asked
    ended = fleet.nix_hive("push", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert "fetch:www-1: done (from relay)" in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("fetch:www-1: done")]
    saw("a host has asked its cache for a system just before it is pushed there", line)


def test_what_a_cache_has_lost_since_is_pushed_anew(fleet, cache):
    """Nix remembers for a month what a cache had."""
    for file in (fleet.folder / "kept").iterdir():
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    use(fleet, cache)
    ended = fleet.nix_hive("push", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    built = fleet.nix_hive("build", "-c", "example", "www")
    closure = process.run(commands.closure(json.loads(built.stdout)["systems"]["www"]["result"])).stdout.split()
    kept = {file.name for file in (fleet.folder / "kept").glob("*.narinfo")}
    assert {f"{path.removeprefix('/nix/store/')[:32]}.narinfo" for path in closure} <= kept


def test_a_host_that_reaches_no_cache_says_so(fleet, cache):
    """Nix ends with `build of … failed`, whatever kept it."""
    use(fleet, cache)
    nobody = cache.replace(str(PORT), "9")
    fleet.lab.exec("www-1", ["sed", "-i", f"s|^substituters = .*|substituters = {nobody}|", "/etc/nix/nix.conf"])
    ended = fleet.nix_hive("push", "-c", "example", "www-1")
    assert ended.returncode == 0, ended.stderr
    assert "fetch:www-1: done (from here" in ended.stderr
    said = rf"did not take it from {cache} \(unable to download '{nobody}/nix-cache-info': .*connect"
    assert re.search(said, ended.stderr, re.IGNORECASE)


def test_a_bucket_has_what_was_pushed_once_and_hosts_read_from_it(fleet, bucket):
    use(fleet, bucket)
    ended = fleet.nix_hive("deploy", "-c", "example", "www-*")
    assert ended.returncode == 0, ended.stderr
    assert f"push:www>{bucket}: done" in ended.stderr
    assert list((fleet.folder / "kept" / "fleet-cache").glob("*.narinfo"))
    for host in ("www-1", "www-2"):
        assert f"fetch:{host}: done (from relay)" in ended.stderr
        assert f"activate:{host}: done" in ended.stderr
    again = fleet.nix_hive("push", "-c", "example", "www-1")
    assert again.returncode == 0, again.stderr
    assert f"push:www>{bucket}: unchanged" in again.stderr


def test_a_bucket_that_asks_for_credentials_is_given_those_of_nix(fleet, private_bucket, monkeypatch):
    """Here from the environment, and on a host from the file of root. They are nowhere else."""
    use(fleet, private_bucket)
    home = fleet.lab.exec("www-1", ["sh", "-c", "echo ~root"]).strip()
    file = f"[default]\naws_access_key_id = FLEET\naws_secret_access_key = {SECRET}\n"
    fleet.lab.exec(
        "www-1", ["sh", "-c", f"mkdir -p {home}/.aws; printf %s {shlex.quote(file)} >{home}/.aws/credentials"]
    )
    ended = fleet.nix_hive("deploy", "-c", "example", "www-*")
    assert f"push:www>{private_bucket}: done" in ended.stderr
    assert list((fleet.folder / "kept" / "private").glob("*.narinfo"))
    assert "fetch:www-1: done (from relay)" in ended.stderr
    assert "activate:www-1: done" in ended.stderr
    # This one has none.
    assert "fetch:www-2: done (from here" in ended.stderr
    assert re.search(r"did not take it from s3://private\S* \(unable to download .*HTTP error 403\)", ended.stderr)
    written = [file for file in fleet.own.rglob("*") if file.is_file()] + [fleet.folder / "nix-hive.log"]
    assert not [file for file in written if SECRET.encode() in file.read_bytes()]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    use(fleet, private_bucket)
    refused = fleet.nix_hive("push", "-c", "example", "www-1")
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("push:www>") and "failed" in line]
    assert "403" in line


def test_a_cache_on_a_disk_that_all_share(fleet, shared):
    use(fleet, f"file://{shared}/cache")
    ended = fleet.nix_hive("push", "-c", "example", "www-*")
    assert ended.returncode == 0, ended.stderr
    assert list((shared / "cache").glob("*.narinfo"))
    for host in ("www-1", "www-2"):
        assert f"fetch:{host}: done (from relay)" in ended.stderr


def test_a_kind_of_store_that_nix_here_does_not_know_is_told(fleet):
    if nix_has_s3():
        pytest.skip("the Nix of this machine has S3")
    use(fleet, "s3://bucket?region=eu-central-1")
    ended = fleet.nix_hive("push", "-c", "example", "www-1")
    assert ended.returncode == 1
    (line,) = [
        line for line in ended.stderr.splitlines() if line.startswith("push:www>s3://bucket") and "failed" in line
    ]
    assert "S3" in line
    assert "fetch:www-1: skipped" in ended.stderr
