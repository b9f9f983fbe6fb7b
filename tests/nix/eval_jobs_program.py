"""A stand-in for `nix-eval-jobs`: the words and the lines of JSON that its README documents, with the real Nix below.

One process evaluates one attribute after another, so it shows nothing about speed.
"""

# ruff: noqa: T201 - it is a program

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_MAP = "builtins.mapAttrs (name: job: { inherit name; inherit (job) drvPath; outputs.out = job.outPath; })"


def main(words: list[str]) -> None:
    """Print a line for each job."""
    if words == ["--help"]:
        print("USAGE: nix-eval-jobs [options] expr\n\n  --select               Apply provided Nix function")
        return
    with Path(os.environ["NIXHIVE_TEST_WORDS"]).open("a") as file:
        file.write(f"{json.dumps(words)}\n")
    for name in json.loads(_run(words, "builtins.attrNames").stdout):
        line = {"attr": name, "attrPath": [name]}
        ended = _run(words, f"jobs: ({_MAP} jobs).{name}")
        line |= {"error": ended.stderr} if ended.returncode else json.loads(ended.stdout)
        print(json.dumps(line), flush=True)


def _run(words: list[str], function: str) -> subprocess.CompletedProcess[str]:
    given, kept, at = [], {}, 0
    while at < len(words):
        if words[at] in ("--option", "--override-input"):
            given += words[at : at + 3]
            at += 3
        elif words[at] in ("--arg", "--argstr"):
            value = words[at + 2] if words[at] == "--arg" else json.dumps(words[at + 2])
            kept.setdefault("args", []).append(f"{words[at + 1]} = {value};")
            at += 3
        elif words[at] in ("-I", "--workers", "--max-memory-size", "--gc-roots-dir", "--flake", "--select"):
            given += words[at : at + 2] if words[at] == "-I" else []
            kept[words[at]] = words[at + 1]
            at += 2
        elif words[at] in ("--impure", "--show-trace"):
            given += [words[at]] if words[at] == "--show-trace" or "--flake" in words else []
            at += 1
        else:
            kept["file"] = words[at]
            at += 1
    if "--flake" in kept:
        apply = f"value: ({function}) (({kept['--select']}) value)"
        argv = ["nix", "--extra-experimental-features", "nix-command", "eval", "--json", kept["--flake"]]
        argv += ["--apply", apply, "--no-write-lock-file", *given]
    else:
        called = f"({function}) (import {kept['file']} {{ {' '.join(kept['args'])} }})"
        argv = ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", *given, "-E", called]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main(sys.argv[1:])
