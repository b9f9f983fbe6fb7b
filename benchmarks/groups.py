"""A large fleet: groups of practice hosts behind several relays, each of which is a fleet of its own with a way in."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from nixhive_nb.lab import HostSpec, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_DEPLOYMENT = """\
# Groups of hosts behind relays: each relay is the way in, and has the store that its hosts fetch from.
let
  labs = [ {labs} ];
  salt = "{salt}";
  relayOf = number: "relay-${{toString number}}";
  # The first lab's nixpkgs and key are those of all.
  first = builtins.head labs;
  numbers = builtins.genList (number: number + 1) (builtins.length labs);
  lab = number: builtins.elemAt labs (number - 1);
  groupOf = name: builtins.head (builtins.match "(group-[0-9]+)-.*" name);
  inner = number: builtins.filter (name: groupOfOrNull name != null) (builtins.attrNames (lab number).instances);
  groupOfOrNull = name: builtins.match "group-[0-9]+-.*" name;
  at = number: name: (lab number).instances.${{name}};
in
{{
  paths.nixpkgs = first.nixpkgs;
  signing.keyFile = first.signingKeyFile;
  nix.build.flags = first.buildFlags;
  systems.relay.configuration = {{ ... }}: {{ networking.hostName = "relay"; }};
  systems.worker.configuration = {{ ... }}: {{
    networking.hostName = "worker";
    environment.etc.motd.text = "One of many. ${{salt}}";
  }};
  instances = builtins.listToAttrs (
    map (number: {{
      name = relayOf number;
      value = {{
        system = "relay";
        tags = [ "relays" ];
        inherit (at number "portico") ssh hostKeys;
      }};
    }}) numbers
    ++ builtins.concatMap (number: map (name: {{
      inherit name;
      value = {{
        system = "worker";
        tags = [ "workers" (groupOf name) ];
        store = "ssh://${{relayOf number}}";
        ssh = (at number name).ssh // {{ ProxyJump = relayOf number; }};
        inherit (at number name) hostKeys;
      }};
    }}) (inner number)) numbers
  );
}}
"""


class Place(NamedTuple):
    """Where a host is: its lab, and the place it has among the lab's hosts."""

    lab: Lab
    position: int


class Groups:
    """Hosts named `group-G-N`, in groups behind relays, and a deployment of all of them."""

    def __init__(self, folder: Path, labs: Sequence[Lab]) -> None:
        self.folder = folder
        self.deployment = folder / "hive.nix"
        self._labs = labs
        self._places = {
            name: Place(lab, position)
            for lab in labs
            for position, name in enumerate(lab.instances)
            if name.startswith("group-")
        }
        self.write("first")

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts behind the relays."""
        return tuple(self._places)

    @property
    def relays(self) -> tuple[str, ...]:
        """The relays, which are the jump hosts too."""
        return tuple(f"relay-{number + 1}" for number in range(len(self._labs)))

    def write(self, salt: str) -> None:
        """Write the deployment; another salt is another system for all hosts."""
        labs = " ".join(f"(import ./lab-{number}/lab.nix)" for number in range(len(self._labs)))
        self.deployment.write_text(_DEPLOYMENT.format(labs=labs, salt=salt))

    def stop(self, host: str) -> None:
        """Switch a host off."""
        self._places[host].lab.stop_host(host)

    def start(self, host: str) -> None:
        """Switch a host on."""
        self._places[host].lab.start_host(host)

    def slow(self, host: str, rate: str = "256kbit") -> None:
        """Have a host hear no more than so much a second: a token bucket on its port of the bridge."""
        self._tc(host, "add", "root", "tbf", "rate", rate, "burst", "8kb", "latency", "400ms")

    def quick(self, host: str) -> None:
        """Take the bucket away."""
        self._tc(host, "del", "root")

    def _tc(self, host: str, what: str, *words: str) -> None:
        lab, position = self._places[host]
        netns = next(one.netns for one in lab.status() if one.instance == "portico")
        argv = ["ip", "netns", "exec", netns, "tc", "qdisc", what, "dev", f"v{position}", *words]
        subprocess.run(argv, check=True, capture_output=True)


@contextlib.contextmanager
def up(folder: Path, *, hosts: int, groups: int, relays: int) -> Iterator[Groups]:
    """Bring so many hosts up, in groups behind relays, and take them down at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"group-{number % groups + 1}-{number // groups + 1}" for number in range(hosts)]
    specs = [[HostSpec(name, "www") for name in names if of_relay(name, relays) == number] for number in range(relays)]
    with contextlib.ExitStack() as stack:
        labs = []
        for number, wanted in enumerate(specs):
            (folder / f"lab-{number}").mkdir()
            place = {"folder": folder / f"lab-{number}" / "fleet", "deployment": folder / f"lab-{number}"}
            labs.append(stack.enter_context(Lab.up(web=0, specs=wanted, **place)))
        yield Groups(folder, labs)


def of_relay(name: str, relays: int) -> int:
    """Return behind which relay a host is: groups lie side by side."""
    return (int(name.split("-")[1]) - 1) % relays
