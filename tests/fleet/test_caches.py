"""Caches in place of relays: one that a server of HTTP keeps, one in a bucket, and one on a disk that all share."""

from __future__ import annotations

import functools
import json
import re
import secrets
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
_SERVER = """
import http.server, pathlib, sys
kept = pathlib.Path(sys.argv[1])
class Cache(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def look(self):
        path = kept / self.path.strip("/")
        found = path.read_bytes() if path.is_file() else None
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(found or b"")
    do_GET = do_HEAD = look
    def do_PUT(self):
        path = kept / self.path.strip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("", int(sys.argv[2])), Cache)
print("listens", flush=True)
server.serve_forever()
"""


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
    argv = [*inside, sys.executable, "-c", _SERVER, str(fleet.folder / "kept"), str(PORT)]
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
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


@pytest.fixture
def bucket(cache):
    """Return the URL of a bucket, as Nix takes it: the server of the cache keeps what it is given by name."""
    if not nix_has_s3():
        pytest.skip("the Nix of this machine has no S3")
    address = cache.removeprefix("http://")
    return f"s3://fleet-cache?region=eu-central-1&scheme=http&endpoint={address}"


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
