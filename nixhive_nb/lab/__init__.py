"""A practice fleet on this machine: real sshd and real Nix stores, each host in namespaces of its own."""

from nixhive_nb.lab.fleet import Lab
from nixhive_nb.lab.model import HostSpec, HostStatus, LabError, NoFleet

__all__ = ["HostSpec", "HostStatus", "Lab", "LabError", "NoFleet"]
