"""Hives of colmena: what their nodes evaluate to, in a file and in a flake.

Expected values are written by hand from colmena's manual (https://colmena.cli.rs: the tutorial, "Using Flakes",
"Secrets", "Deployment Options", "Meta Options"); derivations are
those of an expression of that in plain NixOS.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from nixhive_nb.deployment.inventory import Inventory
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.sources.colmena import ColmenaSource, locked_reference
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.util import process
from nixhive_nb.view.deployment import heeded_lines
from tests.counting import counted
from tests.deployment.sources.hives import (
    COLMENA,
    NIXPKGS,
    PEER,
    by_hand,
    failure,
    hive,
    instantiated,
    inventory,
    refusal,
)

pytestmark = pytest.mark.nix

DEFAULTS = "{ name, pkgs, ... }: { environment.etc.who.text = name; environment.systemPackages = [ pkgs.hello ]; }"
DB = '{ networking.hostName = "database"; }'
DB_OF_WWW = """{ nodes, ... }: {
  networking.hostName = "database"; environment.etc.web.text = nodes.www.config.networking.hostName;
}"""
FORMS = {
    "a set": lambda hive: hive,
    "a function with defaults": lambda hive: f'{{ region ? "eu", ... }}: {hive}',
    "a functor": lambda hive: f"{{ __functor = self: {{ }}: {hive}; }}",
}
PACKAGES = {
    "no nixpkgs": "",
    "a path": "meta.nixpkgs = <nixpkgs>;",
    "a function": "meta.nixpkgs = import <nixpkgs>;",
    "packages": "meta.nixpkgs = import <nixpkgs> { };",
    "lib alone, and packages of each node": (
        "meta.nixpkgs = { lib = import <nixpkgs/lib>; };"
        "meta.nodeNixpkgs = { www = import <nixpkgs> { }; db = <nixpkgs>; gone = /nowhere; };"
    ),
    "a pin with an outPath": (
        'network.nixpkgs = { outPath = toString <nixpkgs>; __functor = _: _: throw "called"; type = "Git"; };'
    ),
}
MODULES = {
    "a set": ('{ networking.hostName = "web"; }', ['{ networking.hostName = "web"; }']),
    "a list": (f'[ ({PEER}) {{ environment.etc.x.text = "x"; }} ]', [PEER, '{ environment.etc.x.text = "x"; }']),
    "a function": (PEER, [PEER]),
    "a path": ("./www.nix", [PEER]),
    "nothing": ("{ }", []),
}


@pytest.fixture(autouse=True)
def _channel(monkeypatch):
    monkeypatch.setenv("NIX_PATH", f"nixpkgs={NIXPKGS}")


MATRIX = [
    (list(FORMS)[number % 3], packages, modules, number % 2 == 0)
    for number, (packages, modules) in enumerate(itertools.product(PACKAGES, MODULES))
]


@pytest.mark.parametrize(("form", "packages", "modules", "circle"), MATRIX)
def test_a_node_is_the_derivation_that_the_manual_says(tmp_path, form, packages, modules, circle):
    written, parts = MODULES[modules]
    db = DB_OF_WWW if circle else DB
    text = f"{{ {PACKAGES[packages]} defaults = {DEFAULTS}; www = {written}; db = {db}; }}"
    file = hive(tmp_path, FORMS[form](text))
    wanted = by_hand({"www": [DEFAULTS, *parts], "db": [DEFAULTS, db]})
    assert instantiated(file, "www", "db") == wanted


def test_each_value_of_each_axis_meets_each_other_one():
    wanted = {
        (one, value, other, another)
        for (one, values), (other, others) in itertools.combinations(
            enumerate([list(FORMS), list(PACKAGES), list(MODULES), [False, True]]), 2
        )
        for value, another in itertools.product(values, others)
    }
    met = {
        (one, case[one], other, case[other]) for case in MATRIX for one, other in itertools.combinations(range(4), 2)
    }
    assert met == wanted


def test_overlays_and_config_of_its_packages_come_before_those_of_a_node(tmp_path):
    """Source: "Meta Options", `nixpkgs`; the tutorial's `overlays = [];`."""
    own = """{ pkgs, ... }: {
      nixpkgs.overlays = [ (final: prev: { hello = prev.htop; jq = prev.hello; }) ];
      nixpkgs.config.b = 2;
      environment.systemPackages = [ pkgs.hello pkgs.jq pkgs.git ];
      environment.etc.config.text = toString [ pkgs.config.a pkgs.config.b ];
    }"""
    packages = "import <nixpkgs> { overlays = [ (final: prev: { hello = prev.git; }) ]; config = { a = 1; }; }"
    file = hive(tmp_path, f"{{ meta.nixpkgs = {packages}; www = {own}; }}")
    first = "{ nixpkgs.overlays = [ (final: prev: { hello = prev.git; }) ]; nixpkgs.config.a = 1; }"
    assert instantiated(file, "www") == by_hand({"www": [own]}, first)


def test_special_arguments_may_be_used_in_imports_and_those_of_a_node_win(tmp_path):
    """Source: "Meta Options", `specialArgs` and `nodeSpecialArgs`."""
    for name in ("www", "db"):
        (tmp_path / f"of-{name}.nix").write_text(f'{{ environment.etc.of.text = "{name}"; }}')
    module = '{ name, place, ... }: { imports = [ (./. + "/of-${name}.nix") ]; environment.etc.place.text = place; }'
    file = hive(
        tmp_path,
        f'{{ meta = {{ specialArgs.place = "here"; nodeSpecialArgs.db.place = "there"; }}; '
        f"defaults = {module}; www = {{ }}; db = {{ }}; }}",
    )
    wanted = {
        name: [f'{{ environment.etc.of.text = "{name}"; environment.etc.place.text = "{place}"; }}']
        for name, place in (("www", "here"), ("db", "there"))
    }
    assert instantiated(file, "www", "db") == by_hand(wanted)


def test_what_is_common_to_all_is_no_weaker_than_what_a_node_says(tmp_path):
    """Source: the tutorial, `defaults`: a module like others, so equal words conflict and lists are joined."""
    file = hive(
        tmp_path,
        """{
          defaults = { lib, pkgs, ... }: {
            networking.hostName = "all"; time.timeZone = lib.mkDefault "UTC"; environment.systemPackages = [ pkgs.git ];
          };
          www = { networking.hostName = "www"; };
          db = { pkgs, ... }: { time.timeZone = "CET"; environment.systemPackages = [ pkgs.jq ]; };
        }""",
    )
    said = failure(file, "www")
    assert "`networking.hostName' has conflicting definition values" in said
    assert f"In `{file}'" in said
    assert said.endswith("(in system www)")
    db = """{ pkgs, ... }: {
      networking.hostName = "all"; time.timeZone = "CET"; environment.systemPackages = [ pkgs.git pkgs.jq ];
    }"""
    assert instantiated(file, "db") == by_hand({"db": [db]})


def test_options_that_there_are_not_are_a_mistake_of_their_node_alone(tmp_path):
    """Source: colmena's release notes, 0.2: nodes that are referred to are not checked."""
    db = '{ lib, ... }: { config = lib.mkIf true { nosuch.thing = 1; networking.hostName = "d"; }; }'
    www = "{ nodes, ... }: { networking.hostName = nodes.db.config.networking.hostName; }"
    file = hive(tmp_path, f"{{ www = {www}; db = {db}; }}")
    said = refusal(file)
    assert "The option `nosuch' does not exist" in said
    assert said.endswith("(in node db)")
    unchecked = f"{{ www = {www}; db = {db.replace('nosuch.thing = 1;', 'deployment.tags = nodes: 1;')}; }}"
    assert refusal(hive(tmp_path, unchecked)).endswith("(in node db)")


def test_an_address_may_be_what_another_node_says(tmp_path):
    db = "{ nodes, ... }: { deployment.targetHost = nodes.www.config.networking.hostName; }"
    found = inventory(tmp_path, f'{{ www = {{ networking.hostName = "w"; }}; db = {db}; }}')
    assert found.instances["db"].ssh == (("Hostname", ("w",)), ("User", ("root",)))


# Of the shapes that public hives have; none of their text.
SHAPES = {
    "names with dots, and an address that is computed": (
        """{ "a.example.org" = { config, ... }: {
          networking.hostName = "a"; deployment.targetHost = config.networking.hostName + ".lan";
        }; }""",
        {"a.example.org": '{ networking.hostName = "a"; }'},
    ),
    "nodes made of a list, with a function in `let`": (
        """let node = number: { networking.hostName = "n${toString number}"; }; in
        { defaults = { name, lib, ... }: { deployment.targetUser = lib.mkDefault null; }; }
        // builtins.listToAttrs (map (n: { name = "n${toString n}"; value = node n; }) [ 1 2 ])""",
        {"n1": '{ networking.hostName = "n1"; }', "n2": '{ networking.hostName = "n2"; }'},
    ),
    "a default that all nodes together give": (
        """{ defaults = { nodes, lib, config, ... }: {
          options.fleet = lib.mkOption { type = lib.types.str; default = toString (builtins.attrNames nodes); };
          config.environment.etc.fleet.text = config.fleet;
        }; db = { fleet = "mine"; }; www = { }; }""",
        {"db": '{ environment.etc.fleet.text = "mine"; }', "www": '{ environment.etc.fleet.text = "db www"; }'},
    ),
    "a node that is a functor, and one within imports": (
        """{ meta = { }; db = { __functor = self: { name, ... }: { networking.hostName = name; };
          __functionArgs = { name = false; }; };
        www = { imports = [ ({ name, ... }: { networking.hostName = name; }) ]; }; }""",
        {"db": '{ networking.hostName = "db"; }', "www": '{ networking.hostName = "www"; }'},
    ),
    "arguments of modules that are set by one": (
        """{ defaults = { nodes, ... }: { _module.args.peer = nodes.db.config.networking.hostName; };
        db = { networking.hostName = "d"; }; www = { peer, ... }: { environment.etc.peer.text = peer; }; }""",
        {"db": '{ networking.hostName = "d"; }', "www": '{ environment.etc.peer.text = "d"; }'},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_hives(tmp_path, shape):
    text, nodes = SHAPES[shape]
    wanted = by_hand({name: [module] for name, module in nodes.items()})
    assert instantiated(hive(tmp_path, text), *nodes) == wanted


def test_the_memory_for_a_fleet_is_that_for_a_node(tmp_path, monkeypatch):
    """What the heap of Nix grows to does not depend on how many nodes there are."""
    monkeypatch.setenv("NIX_SHOW_STATS", "1")
    monkeypatch.setenv("GC_INITIAL_HEAP_SIZE", "4194304")
    heaps = []
    for count in (50, 400):
        nodes = f'map (n: {{ name = "n${{toString n}}"; value = {{ }}; }}) (builtins.genList (n: n) {count})'
        source = ColmenaSource(hive(tmp_path, f"builtins.listToAttrs ({nodes})"), COLMENA)
        (heap,) = re.findall(r'"heapSize": (\d+)', source.inventory("hive.nix", show_trace=False).said)
        heaps.append(int(heap))
    assert heaps[1] < 2 * heaps[0]


def test_the_command_that_instantiates_nodes():
    source = ColmenaSource(Path("/fleet/hive.nix"), Evaluation(options=(("cores", "1"),)))
    words = source.toplevels(Inventory(source="hive.nix"), ["www", "db"])
    options = ["--eval", "--strict", "--json", "--read-write-mode", "--show-trace", "--option", "cores", "1"]
    assert words[: len(options) + 1] == ["nix-instantiate", *options]
    assert words[-6:-4] == ["-I", "deployment=/fleet/hive.nix"]
    assert words[-4].endswith("/deployment/sources/colmena_file.nix")
    assert words[-3:] == ["--argstr", "names", '["www", "db"]']


THEIRS = """{
  outputs = _: {
    lib.makeHive = raw: {
      __schema = "v0.5";
      nodes.www.config.system.build.toplevel = derivation {
        name = "theirs"; system = "x86_64-linux"; builder = "/bin/sh";
      };
      deploymentConfig.www = {
        targetHost = raw.www.deployment.targetHost; targetPort = null; targetUser = "root"; tags = [ "theirs" ];
        keys.k = {
          name = "k"; text = throw "forced"; destDir = "/run/keys"; uploadAt = "pre-activation";
          user = "root"; group = "root"; permissions = "0600";
        };
      };
      metaConfig = { name = "hive"; description = "A Colmena Hive"; machinesFile = null; allowApplyAll = true; };
    };
  };
}
"""


def flake(folder: Path, outputs: str, inputs: str = "") -> Path:
    fleet = folder / "fleet"
    fleet.mkdir()
    (fleet / "flake.nix").write_text(
        f'{{ inputs.nixpkgs.url = "path:{NIXPKGS}"; {inputs}\n'
        f"outputs = {{ self, nixpkgs, ... }}@inputs: {{\n{outputs}\n}}; }}\n"
    )
    return fleet


def with_colmena(folder: Path) -> str:
    (folder / "colmena").mkdir()
    (folder / "colmena" / "flake.nix").write_text(THEIRS)
    return f'inputs.colmena.url = "path:{folder}/colmena";'


RAW = """
  colmena = {
    meta.nixpkgs = import nixpkgs { system = "x86_64-linux"; };
    www = { name, ... }: { networking.hostName = name; deployment.tags = [ "raw" ]; };
  };
"""
ADDRESSED = 'colmena = { meta.nixpkgs = throw "ours"; www.deployment.targetHost = "192.0.2.9"; };'


def test_an_evaluated_hive_of_a_flake_is_taken_as_it_is(tmp_path):
    """Source: "Using Flakes", `colmenaHive = colmena.lib.makeHive self.outputs.colmena;`."""
    place = flake(
        tmp_path, f"{ADDRESSED} colmenaHive = inputs.colmena.lib.makeHive self.outputs.colmena;", with_colmena(tmp_path)
    )
    found = load(place).inventory
    assert (found.format, found.instances["www"].tags) == ("colmena", ("theirs",))
    (line,) = [one for one in heeded_lines(found.heeded) if "keys" in one]
    assert "derivation differs" not in line
    assert instantiated(place, "www")["www"].endswith("-theirs.drv")
    assert not (place / "flake.lock").exists()


def test_a_raw_hive_is_evaluated_by_the_colmena_that_the_flake_itself_has(tmp_path):
    place = flake(tmp_path, ADDRESSED, with_colmena(tmp_path))
    found = load(place).inventory.instances["www"]
    assert (found.tags, found.ssh) == (("theirs",), (("Hostname", ("192.0.2.9",)), ("User", ("root",))))
    assert instantiated(place, "www")["www"].endswith("-theirs.drv")


def test_a_raw_hive_without_it_is_evaluated_as_a_file_is(tmp_path):
    place = flake(tmp_path, RAW)
    found = load(place).inventory
    assert found.instances["www"].tags == ("raw",)
    assert instantiated(place, "www") == by_hand({"www": ["{ name, ... }: { networking.hostName = name; }"]})
    assert load(f"{place}#colmena").inventory.instances == found.instances


@pytest.mark.parametrize(
    ("nixpkgs", "wanted"),
    [
        ("", "`meta.nixpkgs` is missing: write `import nixpkgs"),
        ("meta.nixpkgs = nixpkgs;", "`meta.nixpkgs` is an input of a flake"),
        ("meta.nixpkgs = import nixpkgs;", "`meta.nixpkgs` is a function, and a flake's hive needs a set of packages"),
        ("meta.nixpkgs = ./.;", "`meta.nixpkgs` is a path, and a flake's hive needs a set of packages"),
    ],
)
def test_in_a_flake_a_hive_has_to_bring_packages(tmp_path, nixpkgs, wanted):
    """Source: "Using Flakes": nixpkgs is initialised there, and `<nixpkgs>` is never taken."""
    place = flake(tmp_path, f"colmena = {{ {nixpkgs} www = {{ }}; }};")
    said = refusal(place)
    assert wanted in said
    assert nixpkgs == "" or f"{place}/flake.nix:3: " in said


def test_a_flake_without_a_hive_is_told(tmp_path):
    place = flake(tmp_path, "nixosConfigurations = { };")
    assert refusal(place) == f"The flake {place} has no output colmenaHive or colmena."


def test_a_flake_with_an_evaluated_hive_is_evaluated_three_times(tmp_path, monkeypatch):
    outputs = f"{ADDRESSED} colmenaHive = inputs.colmena.lib.makeHive self.outputs.colmena;"
    place = flake(tmp_path, outputs, with_colmena(tmp_path))
    calls = counted(monkeypatch, process, "run")
    load(place)
    # For `nixhive`, whether there is a hive, and what it says.
    assert sum("eval" in argv for (argv, *_) in calls) == 3


def test_a_mistake_in_a_node_of_a_flake_is_told_with_its_own_file(tmp_path):
    place = flake(tmp_path, RAW.replace("networking.hostName = name;", 'networking.hostName =\n throw "no name";'))
    number = (place / "flake.nix").read_text().splitlines().index(' throw "no name"; deployment.tags = [ "raw" ]; };')
    said = failure(place, "www")
    assert said.startswith((f"{place}/flake.nix:{number}:", f"{place}/flake.nix:{number + 1}:"))
    assert said.endswith(": no name\n(in system www)")


@pytest.mark.parametrize(
    ("locked", "wanted"),
    [
        (
            {"type": "github", "owner": "o", "repo": "c", "rev": "aa11", "narHash": "sha256-a+/=", "lastModified": 1},
            "github:o/c/aa11?narHash=sha256-a%2B%2F%3D",
        ),
        (
            {"type": "gitlab", "owner": "o", "repo": "r", "rev": "aa11", "host": "git.example.org", "dir": "sub"},
            "gitlab:o/r/aa11?dir=sub&host=git.example.org",
        ),
        (
            {"type": "git", "url": "https://example.org/c.git?x=1", "ref": "main", "rev": "aa11", "revCount": 3},
            "git+https://example.org/c.git?x=1&ref=main&rev=aa11",
        ),
        (
            {"type": "tarball", "url": "https://example.org/c.tar.gz", "narHash": "sha256-a"},
            "tarball+https://example.org/c.tar.gz?narHash=sha256-a",
        ),
        (
            {"type": "path", "path": "/c", "narHash": "sha256-a", "lastModified": 1},
            "path:/c?narHash=sha256-a&lastModified=1",
        ),
        ({"type": "path", "path": "./c", "narHash": "sha256-a"}, ""),
        ({"type": "indirect", "id": "colmena"}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_locked_input_is_named_as_pure_evaluation_takes_it(locked, wanted):
    """Source: the manual of `nix flake`, "Types"."""
    assert locked_reference(locked) == wanted
