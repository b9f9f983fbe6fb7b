"""An interrupt ends builds, leaves nothing behind, and is raised; a second one leaves at once."""

from __future__ import annotations

import os
import secrets
import signal

import pytest

from tests.fleet.faults import line_of, saw
from tests.practice import read_until, start
from tests.sshd import descendants, eventually, is_running

pytestmark = pytest.mark.fleet


@pytest.fixture
def blocked(tmp_path):
    """A fleet, and a pipe on which the activation of portico (or a build) waits until somebody writes."""
    one = start(tmp_path, web=0)
    yield one
    one.lab.down()


def test_an_interrupt_in_a_build_ends_the_build(blocked, tmp_path, gate):
    (tmp_path / "hive.nix").write_text("""{
      paths.nixpkgs = ./stand-in;
      systems.slow.configuration = { ... }: { };
      nix.build.flags = [ "--option" "sandbox" "false" "--option" "substituters" "" ];
      instances.host.system = "slow";
    }""")
    lib = tmp_path / "stand-in" / "nixos" / "lib"
    lib.mkdir(parents=True)
    (lib / "eval-config.nix").write_text(f"""{{ ... }}: {{
      config.system.build.toplevel = derivation {{
        name = "blocked-{secrets.token_hex(8)}"; system = builtins.currentSystem; builder = "/bin/sh";
        args = [ "-c" "echo waiting >&2; read line < {gate}; echo $line > $out" ];
      }};
    }}""")
    process = blocked.begin("build")
    read_until(process, "build: started")
    # Opening the pipe for writing returns when the builder has opened it for reading: it runs.
    writer = os.open(gate, os.O_WRONLY)
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "build: cancelled" in rest
    # Nobody reads any more: the builder is gone.
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x\n")
    os.close(writer)


def test_an_interrupt_lets_a_running_activation_end_and_starts_no_other(blocked, tmp_path):
    lab, portico = blocked.lab, blocked.example / "portico.nix"
    lab.exec("portico", ["mkfifo", "/var/go"])
    text = portico.read_text()
    script = 'system.activationScripts.wait = "echo at the gate >&2; read line < /var/go";'
    portico.write_text(text.replace("networking.hostName", f"{script}\n  networking.hostName", 1))
    process = blocked.begin("deploy", "-c", "example", "portico", "*")
    read_until(process, "activate:portico: started")
    process.send_signal(signal.SIGINT)
    # Python hears it when it is its turn; the activation must not end before.
    read_until(process, "Stopping: ")
    lab.exec("portico", ["sh", "-c", "echo go > /var/go"])
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "activate:portico: done" in rest
    assert "activate:depot: cancelled" in rest
    saw("a first interrupt during an activation", f"{line_of(rest, 'portico')}; {line_of(rest, 'depot')}")
    assert blocked.runs("portico") == blocked.boots("portico") != ""
    assert "/nix/store" not in blocked.runs("depot")


@pytest.mark.parametrize("carrier", ["fabric", "openssh"])
def test_a_second_interrupt_leaves_at_once_and_says_what_is_unknown(blocked, carrier):
    lab, portico = blocked.lab, blocked.example / "portico.nix"
    lab.exec("portico", ["mkfifo", "/var/here", "/var/go"])
    text = portico.read_text()
    script = 'system.activationScripts.wait = "echo here > /var/here; read line < /var/go";'
    portico.write_text(text.replace("networking.hostName", f"{script}\n  networking.hostName", 1))
    process = blocked.begin("deploy", "-c", "example", "--confirm", "2", "--carrier", carrier, "portico", cold=True)
    read_until(process, "activate:portico: started")
    lab.exec("portico", ["cat", "/var/here"])
    below = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    read_until(process, "Interrupt again")
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    eventually(lambda: not any(map(is_running, below)), "the end of what we started")
    lab.exec("portico", ["sh", "-c", "echo go > /var/go"])
    assert process.returncode == 130
    assert "activate:portico: unknown" in rest
    # Nobody gives the word: it goes back by itself, to nothing in this case, and sets no profile.
    lab.exec("portico", ["flock", "/run/nixhive/lock", "true"])
    assert "system" not in lab.exec("portico", ["ls", "/nix/var/nix/profiles"]).split()
    saw("a second interrupt during an activation", line_of(rest, "portico"))
