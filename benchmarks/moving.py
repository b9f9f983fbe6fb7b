"""Building and moving: a large closure to a relay beside `nix copy`, and the build of several systems."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.deploys import signed_to_relay, without_answer
from benchmarks.harness import Line, Row, Way
from benchmarks.setting import quietly
from nixhive_nb import Hive

if TYPE_CHECKING:
    from benchmarks.setting import Setting

_SYSTEMS = 8
_BLOB = """\
{{ publicKey }}: {{ ... }}: {{
  imports = [ (import ./portico-base.nix {{ inherit publicKey; }}) ];
  environment.etc.blob.source = derivation {{
    name = "blob-{salt}";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "head -c {size} /dev/urandom >$out" ];
    PATH = "/usr/bin:/bin";
  }};
}}
"""
_EVALUATED = """\
(import <nixpkgs/nixos/lib/eval-config.nix> {{
  modules = [ (import <deployment>).systems."system-{number}".configuration ];
}}).config.system.build.toplevel
"""
_EIGHT = """\
let base = import ./default.nix; in
{{
  inherit (base) paths;
  nix.build.flags = base.nix.build.flags ++ [ "--max-jobs" "auto" ];
  systems = builtins.listToAttrs (builtins.genList (number: {{
    name = "system-${{toString number}}";
    value.configuration = {{ ... }}: {{
      networking.hostName = "system-${{toString number}}";
      environment.etc.work.source = derivation {{
        name = "work-${{toString number}}-{salt}";
        system = builtins.currentSystem;
        builder = "/bin/sh";
        args = [ "-c" "i=0; while [ $i -lt 1000000 ]; do i=$((i + 1)); done; echo $i >$out" ];
        PATH = "/usr/bin:/bin";
      }};
    }};
  }}) {systems});
  instances = {{ }};
}}
"""


def large(setting: Setting) -> list[Way]:
    """Return the ways to bring a system with a large file in it to the relay. The file is random, and new each time."""
    fleet = setting.fleet()
    module, base = fleet.example / "portico.nix", fleet.example / "portico-base.nix"
    base.write_text(module.read_text())
    path = ""

    def renew() -> None:
        nonlocal path
        last = path
        module.write_text(_BLOB.format(salt=time.time_ns(), size=setting.size))
        path = str(fleet.hive.build("portico").frame.loc["portico", "result"])
        remove(last)

    def restore() -> None:
        base.replace(module)
        fleet.hive.build("portico")
        remove(path)

    setting.at_end(restore)
    return [
        Way("push", without_answer(lambda: fleet.hive.push("portico")), 1, renew),
        Way("nix copy, signed", lambda: signed_to_relay(fleet, path), 1, renew),
    ]


def remove(system: str) -> None:
    """Remove the large file of a system from this machine's store, and what needs it; not where somebody keeps it."""
    for blob in _asked("--requisites", system) if system else ():
        if "-blob-" in blob:
            with contextlib.suppress(subprocess.CalledProcessError):
                quietly(["nix-store", "--delete", *_asked("--referrers-closure", blob)], Path("/"))


def _asked(question: str, path: str) -> list[str]:
    argv = ["nix-store", "--query", question, path]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()


def build(setting: Setting) -> list[Way]:
    """Return the ways to evaluate and build some systems, each with half a second of work for a processor."""
    fleet = setting.fleet()
    file = fleet.example / "eight.nix"

    def renew() -> None:
        file.write_text(_EIGHT.format(salt=time.time_ns(), systems=_SYSTEMS))

    def ours() -> None:
        with Hive.load(file, state=fleet.folder / "eight.state", state_dir=fleet.folder / "eight") as hive:
            hive.build()

    def one_by_one() -> None:
        """Evaluate and build system by system, as Nix-Hive does."""
        for number in range(_SYSTEMS):
            found = quietly(
                [
                    "nix-instantiate",
                    "-I",
                    f"deployment={file}",
                    "-I",
                    f"nixpkgs={fleet.nixpkgs}",
                    "--expr",
                    _EVALUATED.format(number=number),
                ],
                fleet.folder,
            )
            flags = ["--option", "sandbox", "false", "--option", "substituters", "", "--max-jobs", "auto"]
            quietly(["nix-store", "--realise", *found.stdout.decode().split(), *flags], fleet.folder)

    return [Way("build", ours, 1, renew), Way("reference", one_by_one, 1, renew)]


ROWS = (
    Row(
        "large",
        "a large closure to a relay",
        (Line("push", "nix copy, signed", "faster", 0.95, "0.70 ×"),),
        "`nix copy` itself, which both use, for 93 % and more of the time: ssh and the hashes on both sides. Before it "
        "ours starts nine programs of Nix, one after another (evaluation, build, sizes, root, signature), and asks the "
        "relay three times. Tried: `ssh-ng://` 0.6 to 1.2 × as fast as `ssh://`; an export of Nix into an import "
        "over ssh 0.2 to 0.4 ×.",
        large,
        hosts=1,
    ),
    Row(
        "build",
        f"evaluation and build of {_SYSTEMS} systems",
        (Line("build", "reference", "times", 0.5, "0.7 ×"),),
        "The builders, for nine tenths of the time: both ways need as much processor time, and no more than the "
        "processors have. One process evaluates all in 0.04 s; two take as long, and eight three times as long. More "
        "jobs than processors help only where other work takes these.",
        build,
        hosts=1,
    ),
)
