"""A password that was given in each way, to a light host and one with systemd: afterwards it is found nowhere."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel

from nixhive_nb import Hive
from nixhive_nb.lab import HostSpec
from tests.fleet.asked import Watch, begin, has_password, started, typed
from tests.practice import start

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(240), pytest.mark.usefixtures("systemd_hosts")]

HOSTS = ("depot", "www-2")
DEFAULTS = "Defaults log_input, log_output, !compress_io"
_HELD = 'system.activationScripts.held = "echo here > /var/here; read line < /var/go";'
_IN_PYTHON = """
import sys
from nixhive_nb import Hive
with Hive.load("example") as hive:
    known = hive.using(password=lambda label, names: sys.stdin.readline().rstrip("\\n"))
    print(known.run("depot", "id -u", sudo=True).stdout.tolist())
    print(repr(known), known._work)
    known.close()
"""
_CELLS = (
    "%load_ext nixhive_nb",
    "%config Hive.log = 'kernel.log'",
    "handle = %hive deploy -c example --ask-password --background --force depot",
    "handle.wait()\nhandle",
    "%hive bug-report --file of-kernel.txt",
    "%history -g",
    "In, Out, dir()",
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, systemd_hosts, secret):
    """Two hosts whose sudo asks, and keeps what commands read and print. Journals and histories stand in its folder."""
    specs = [
        HostSpec("depot", "depot", user="deploy", sudo=False),
        HostSpec("www-2", "www", user="deploy", sudo=False, init="systemd", debian="trixie"),
    ]
    one = start(tmp_path_factory.mktemp("fleet"), web=1, specs=specs)
    for host in HOSTS:
        has_password(one, host, secret, defaults=DEFAULTS)
    yield one
    one.lab.down()


def kept_in(fleet, text):
    """Return where a text stands: files of ours and of the hosts, and journals of systemd."""
    ours = [str(fleet.folder), os.environ["XDG_STATE_HOME"], os.environ["XDG_RUNTIME_DIR"]]
    argv = ["grep", "-rlFs", "-D", "skip", "-e", text, *ours]
    found = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    look = 'grep -rlFs -D skip -e "$1" /var /run /tmp /etc /root /home /boot || true'
    for host in HOSTS:
        found += [f"{host}:{file}" for file in fleet.lab.exec(host, ["sh", "-c", look, "sh", text]).split()]
    read = "journalctl --all --no-pager --output=export"
    said = fleet.lab.exec("www-2", ["sh", "-c", f'{read} | grep -aF -e "$1" || true', "sh", text])
    return [*found, *(["www-2:journal"] if said else [])]


def lost_on_the_way(fleet, secret):
    """Deploy to both, and cut the link to one in the middle: it is followed anew."""
    page = fleet.example / "depot.nix"
    page.write_text(page.read_text().replace("networking.hostName", f"{_HELD}\n  networking.hostName", 1))
    fleet.lab.exec("depot", ["mkfifo", "/var/here", "/var/go"])
    process = begin(fleet, secret, "deploy", "--verbose", "-c", "example", *HOSTS)
    heard = []
    # It says so much that its pipe would be full.
    reading = threading.Thread(target=lambda: heard.extend(process.communicate(timeout=120)))
    reading.start()
    fleet.lab.exec("depot", ["timeout", "60", "cat", "/var/here"])
    fleet.lab.exec("depot", ["pkill", "-KILL", "-f", "[s]shd(-session)?: deploy"])
    fleet.lab.exec("depot", ["timeout", "60", "sh", "-c", "echo go > /var/go"])
    reading.join()
    page.write_text(page.read_text().replace(f"{_HELD}\n  ", ""))
    return process.returncode, "".join(heard)


def printed(fleet, secret, command, *words):
    """Run `nix-hive` with a password that a program prints. It is in no file."""
    pipe = fleet.folder / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)  # so nobody waits for the other
    os.write(held, f"{secret}\n".encode())
    ended = fleet.nix_hive(command, "--password-command", f"head -n1 {pipe}", *words)
    os.close(held)
    pipe.unlink()
    return ended


def in_kernel(fleet, secret):
    """Run cells with a person at the page, who types the password; save the notebook, and return what is in it."""
    folders = {"IPYTHONDIR": fleet.folder / "ipython", "JUPYTER_RUNTIME_DIR": fleet.folder / "jupyter"}
    env = {**fleet._environment(), **{name: str(folder) for name, folder in folders.items()}}
    manager, client = start_new_kernel(cwd=str(fleet.folder), env=env)
    asked, cells = [], []

    def answer(message):
        asked.append((message["content"]["prompt"], message["content"]["password"]))
        client.input(secret)

    try:
        for source in _CELLS:
            cells.append(nbformat.v4.new_code_cell(source))

            def heard(message, to=cells[-1].outputs):
                if message["msg_type"] in ("stream", "display_data", "execute_result", "error"):
                    to.append(nbformat.v4.output_from_msg(message))

            client.execute_interactive(source, allow_stdin=True, output_hook=heard, stdin_hook=answer, timeout=60)
    finally:
        client.shutdown()
        manager.shutdown_kernel()
        client.stop_channels()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), fleet.folder / "saved.ipynb")
    assert [is_hidden for _, is_hidden in asked] == [True], asked
    return (fleet.folder / "saved.ipynb").read_text()


def test_it_is_found_nowhere(fleet, secret):
    words = ("-c", "example")
    with Watch(secret) as watch:
        status, followed = lost_on_the_way(fleet, secret)
        assert status == 0, followed
        assert all(fleet.runs(host) == fleet.boots(host) != "" for host in HOSTS)
        assert "the activation is followed anew" in (fleet.folder / "nix-hive.log").read_text()
        ran = printed(fleet, secret, "run", *words, "--verbose", "--sudo", "depot", "id -u")
        assert "0" in ran.stdout.split(), ran.stderr
        by_python = subprocess.run(
            [sys.executable, "-c", _IN_PYTHON], cwd=fleet.folder, env=fleet._environment(), input=f"{secret}\n",
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "['0\\n']" in by_python.stdout, by_python.stderr
        notebook = in_kernel(fleet, secret)
        assert notebook.count("1 of 1 deployed") >= 1, notebook
        asked = ("--ask-password-for", "depot", "--ask-password")
        status, seen = typed(fleet, [secret, secret], "reboot", *words, *asked, *HOSTS)
        assert status == 0, seen
        reported = fleet.nix_hive("bug-report", *words, "--file", "bug.txt")
        assert reported.returncode == 0, reported.stderr
        state = fleet.nix_hive("status", *words, "--verbose", *HOSTS)
        assert state.returncode == 0, state.stderr
    token = secret.split()[1].removesuffix("\\x")
    said = [followed, ran.stdout, ran.stderr, by_python.stdout, by_python.stderr, notebook, seen, reported.stdout]
    assert not [text for text in [*said, state.stdout, state.stderr] if token in text]
    assert watch.looks > 10
    assert watch.found == []
    assert kept_in(fleet, token) == []
    history = fleet.folder / "ipython" / "profile_default" / "history.sqlite"
    assert "%hive deploy" in history.read_text(errors="replace")
    # No other word than the right one was ever tried, and no root was asked for what needs none.
    for host in HOSTS:
        lines = started(fleet, host)
        assert lines
        assert not [line for line in lines if "incorrect password" in line]
        assert not [line for line in lines if " nixhive say " in line or " nixhive follow " in line]


def test_the_search_finds_what_is_there(fleet):
    text = f"planted {secrets.token_hex(8)}"
    ours = [
        fleet.folder / "planted.log",
        fleet.folder / "ipython" / "planted",
        fleet.own / "planted",
        *(fleet.folder.__class__(os.environ[name]) / "planted" for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR")),
    ]
    for file in ours:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0" + text.encode())
    theirs = ("/var/log/planted", "/run/planted", "/tmp/planted", "/etc/planted", "/root/planted", "/home/planted")
    for host in HOSTS:
        fleet.lab.exec(host, ["sh", "-c", f'for file in {" ".join(theirs)}; do echo "$1" >$file; done', "sh", text])
    fleet.lab.exec("www-2", ["sh", "-c", 'echo "$1" | systemd-cat -t sudo; journalctl --sync', "sh", text])
    wanted = {*map(str, ours), *(f"{host}:{file}" for host in HOSTS for file in theirs), "www-2:journal"}
    assert wanted <= set(kept_in(fleet, text))
    for file in ours:
        file.unlink()
    says = ["sh", "-c", "echo; cat", "sh"]
    for argv, env in (([*says, text], {}), (says, {"PLANTED": text})):
        with subprocess.Popen(argv, env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
            one.stdout.readline()
            watch = Watch(text)
            watch.look()
            assert watch.found
            one.stdin.close()


def test_run0_takes_no_password_and_names_the_rule_that_lets_it_do_without(fleet, secret):
    page = fleet.example / "run0.nix"
    page.write_text(
        "let base = import ./default.nix; in base // { instances = base.instances // { www-2 = base.instances.www-2 // "
        '{ elevate = "run0"; }; }; }\n'
    )
    with Hive.load(page, state_dir=fleet.folder / "kept") as hive:
        known = hive.using(password=lambda *_: secret)
        (error,) = known.run("www-2", "id -u", sudo=True).error
        assert "It asks for a password at a terminal alone" in error
        rule = error[error.index("`polkit.addRule") + 1 : error.index("`, or log in")].replace("USER", "deploy")
        fleet.lab.exec(
            "www-2",
            ["sh", "-c", "cat >/etc/polkit-1/rules.d/50-deploy.rules && systemctl restart polkit"],
            text=f"{rule}\n",
        )
        row = known.run("www-2", "id -u", sudo=True).iloc[0]
    assert (row["error"], row["stdout"]) == ("", "0\n")
