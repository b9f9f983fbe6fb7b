"""What the tests on fleets share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def gate():
    """A pipe on this machine that a build user can open, unlike what stands below pytest's own folder."""
    with tempfile.TemporaryDirectory(prefix="hive-test-") as folder:
        Path(folder).chmod(0o755)
        pipe = Path(folder) / "gate"
        os.mkfifo(pipe)
        pipe.chmod(0o666)
        yield pipe
