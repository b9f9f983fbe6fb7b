"""Takes a fleet down whose owner is gone, however the owner went: see `owner`, which has it started."""

from __future__ import annotations

import sys
from pathlib import Path

from nixhive_nb.lab.fleet import take_down


def main() -> None:
    """Take down the fleet of an owner that is gone, if it is still the same one."""
    folder, token = Path(sys.argv[1]), sys.argv[2]
    take_down(folder, token)


if __name__ == "__main__":
    main()
