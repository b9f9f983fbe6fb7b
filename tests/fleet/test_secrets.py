"""E3: a secret of a deployment, a command or the environment is used, and stands nowhere that is shown or kept."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.fleet

PASSWORD = "hunter2correct"
TOKEN = "t0kenbattery"
VALUE = "staple-horse"
ACCESS = "ghx-access-99"
SECRETS = (PASSWORD, TOKEN, VALUE, ACCESS)


class Cache(BaseHTTPRequestHandler):
    """A binary cache that takes what is put, and notes with which login."""

    protocol_version = "HTTP/1.1"  # whoever puts something waits a second for the answer that older ones do not give

    kept: dict[str, bytes] = {}  # noqa: RUF012 - of one test
    logins: set[str] = set()  # noqa: RUF012

    def do_GET(self):
        self._look()

    def do_HEAD(self):
        self._look()

    def _look(self):
        self._note()
        found = self.kept.get(self.path.partition("?")[0])
        self.send_response(200 if found is not None else 404)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(found or b"")

    def do_PUT(self):
        self._note()
        self.kept[self.path.partition("?")[0]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def _note(self):
        self.logins.add(self.headers.get("Authorization", ""))

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def cache():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cache)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def said(practice, cache):
    """All that the commands of a day print, by command, and all that they leave in files."""
    url = f"http://ci:{PASSWORD}@127.0.0.1:{cache}?secret-token={TOKEN}"
    (practice.folder / "secret.nix").write_text(
        f"""
        let
          base = import ./example;
          hidden = _: one: if one ? store then one // {{ store = "{url}"; }} else one;
        in base // {{ instances = builtins.mapAttrs hidden base.instances; }}
        """
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIX_CONFIG", f"{os.environ.get('NIX_CONFIG', '')}\naccess-tokens = github.com={ACCESS}")
        patch.setenv("FROM_HERE", VALUE)
        found = {}
        for words in (
            ["instances"], ["instances", "--json"], ["targets"], ["status"], ["build"],
            ["plan", "deploy", "web"], ["plan", "deploy", "web", "--json"],
            ["plan", "--out", "plan.json", "deploy", "web"],
            ["deploy", "--verbose", "web"], ["apply", "plan.json", "--force"], ["check", "web"],
            ["history"], ["history", "--json"], ["report"],
            ["run", "-v", f"GIVEN={VALUE}", "-v", "FROM_HERE", "web", 'test "$GIVEN" = "$FROM_HERE"'],
            ["run", "-v", f"GIVEN={VALUE}", "nobody", "true"],
            ["bug-report", "--file", "bug.txt"],
        ):  # fmt: skip
            ended = practice.nix_hive(words[0], "-c", "secret.nix", "--state-dir", "kept", *words[1:])
            found[" ".join(words)] = (ended.returncode, ended.stdout + ended.stderr)
    return found


def test_the_true_url_is_used(said):
    """What is executed has the password: the cache got it, and holds the system."""
    login = "Basic " + base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
    assert login in Cache.logins
    assert any(path.endswith(".narinfo") for path in Cache.kept)
    for words in ("deploy --verbose web", "apply plan.json --force"):
        assert said[words][0] == 0, said[words][1]
    assert next(code for words, (code, _) in said.items() if words.startswith("run -v") and "FROM_HERE" in words) == 0


def test_no_command_says_a_secret(said):
    """E3: tables, plans, steps, warnings, the report of a run, and the log on standard error."""
    for words, (_, text) in said.items():
        for secret in SECRETS:
            assert secret not in text, words
    assert "push:www>http://ci:***@127.0.0.1" in said["deploy --verbose web"][1]


def test_no_file_keeps_a_secret(practice, said):
    """E3: the journal with the ids of its steps, the logs, the plan, the log of this program, the bug report."""
    looked_at = [practice.folder / name for name in ("nix-hive.log", "bug.txt", "plan.json")]
    looked_at += [file for file in (practice.folder / "kept").rglob("*") if file.is_file()]
    assert any(file.suffix == ".jsonl" for file in looked_at)
    for file in looked_at:
        text = file.read_text(errors="replace")
        for secret in SECRETS:
            assert secret not in text, file
        assert base64.b64encode(f"ci:{PASSWORD}".encode()).decode() not in text


def test_the_plan_and_the_journal_tell_the_store_by_its_name(practice, said):
    plan = json.loads((practice.folder / "plan.json").read_text())["plan"]
    names = {step["store"] for step in plan["steps"] if step.get("store")}
    assert all(re.fullmatch(r"http://ci:\*\*\*@127\.0\.0\.1:\d+\?secret-token=\*\*\*", name) for name in names), names


def test_the_bug_report_has_what_it_says(practice, said):
    text = (practice.folder / "bug.txt").read_text()
    for title in ("Versions", "Settings", "SSH configuration", "Journal", "Log"):
        assert f"\n{title}\n" in text, title
    assert "access-tokens = github.com=***" in text
    assert oct((practice.folder / "bug.txt").stat().st_mode)[-3:] == "600"
    assert "Nothing was sent." in said["bug-report --file bug.txt"][1]
