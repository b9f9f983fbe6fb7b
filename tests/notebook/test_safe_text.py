"""Text from a deployment, a build or a variable that would be HTML or terminal control: harmless in every output."""

from __future__ import annotations

import json
import re

import pytest

from tests.notebook.conftest import HIVE, execute

MARKED = "<script>alert(1)</script><img src=x onerror=alert(1)>"
EVIL = f"{MARKED}\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 \x1b[2J\x9b1m\rover\u202edrowkcab"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
MARKUP = re.compile(r"<\s*(?:script|img\s+src=x)", re.IGNORECASE)
BUILDER = (
    r"printf '<script>alert(1)</script> \033[31mred\033[0m \033]8;;http://x\007link\033]8;;\007 a\rb\n' >&2; exit 1"
)

COMMANDS = [
    "%hive systems",
    "%hive targets",
    "%hive plan",
    "%hive status",
    "%hive build",
    "%hive deploy --yes --reason $evil",
    "%hive check",
    "%hive diff",
    "%hive generations",
    "%hive run web uptime",
    "%hive run web echo '<script>' \"$evil\"",
    "%%hive run web\necho '<script>alert(1)</script>'",
    "%hive ssh www-1 uptime",
    "%hive ssh www-1",
    "%hive ssh-config",
    "%hive runs",
    # What a variable holds comes back in messages.
    "%hive instances $evil",
    'x = %hive instances "no-$evil"',
    '%hive load -c "no-$evil"',
    '%hive "no-$evil"',
    '%hive help "no-$evil"',
    '%hive instances "--no-$evil"',
    '%hive deploy --yes --once "$evil"',
    '%hive deploy --plan "$evil"',
    '%hive instances "@no-$evil"',
    "%hive instances {1 / 0 if evil else 0}",
    "%hive instances {[][evil]}",
]


def nix(text):
    """Return a text as a Nix expression."""
    escaped = json.dumps(text).replace("$", "\\$")
    return f"(builtins.fromJSON {json.dumps(escaped)})"


@pytest.fixture
def hostile(folder):
    """A deployment whose words, and whose builder's, are hostile."""
    text = HIVE.replace("FOLDER", str(folder)).replace("NOWHERE", '{ HostName = "127.0.0.1"; Port = 1; }')
    text = text.replace('say "www" "WWW"', f'say "www" {nix(BUILDER)}').replace("BROKEN", "echo db > $out")
    text = text.replace('tags = [ "web" ]', f'tags = [ "web" {nix(MARKED)} ]')  # control is refused there
    checks = f'systems.www.checks.odd = {{ command = [ "true" {nix(EVIL)} ]; description = {nix(EVIL)}; }};'
    (folder / "hive.nix").write_text(text.replace("instances = {", f"{checks} ${{{nix(EVIL)}}} = 1;\n  instances = {{"))
    return folder


def texts_of(outputs):
    for output in outputs:
        yield "text/plain", output.get("text", "")
        yield "text/plain", "\n".join([*output.get("traceback", ()), output.get("evalue", "")])
        for kind, text in output.get("data", {}).items():
            yield kind, text if isinstance(text, str) else json.dumps(text)


@pytest.mark.slow
def test_no_command_lets_it_through(hostile):
    _, *cells = execute(hostile, f"%load_ext nixhive_nb\nevil = {EVIL!r}", *COMMANDS)
    seen = set()
    for command, outputs in zip(COMMANDS, cells, strict=True):
        assert outputs, command
        for kind, text in texts_of(outputs):
            assert not CONTROL.search(text), (command, kind, CONTROL.findall(text), text)
            if kind == "text/html":
                assert not MARKUP.search(text), (command, text)
            if "alert(1)" in text:
                seen.add(command.split()[1])
    # It was there to be let through.
    assert {"systems", "targets", "build", "deploy", "diff", "instances", "load", "help"} <= seen


@pytest.mark.slow
def test_tables_of_pandas_escape_it(hostile):
    _, instances, history = execute(
        hostile, f"%load_ext nixhive_nb\n%hive build --reason {EVIL[:25]!r}", "%hive instances", "%hive history"
    )
    for outputs in (instances, history):
        assert "&lt;script&gt;" in outputs[-1].data["text/html"]
        assert not MARKUP.search(outputs[-1].data["text/html"])


@pytest.mark.slow
def test_completion_offers_only_what_can_be_seen(hostile):
    _, outputs = execute(
        hostile,
        "%load_ext nixhive_nb\n%hive load",
        "from IPython.core.completer import provisionalcompleter\n"
        "with provisionalcompleter():\n"
        "    for one in get_ipython().Completer.completions('%hive deploy ', 13): print(one.text)",
    )
    assert "web" in outputs[0].text.split("\n")
    assert not CONTROL.search(outputs[0].text)
