"""Pictures of outputs for the README and the docs, in both themes, taken by the tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from tests.ui.notebook import JupyterLab

IMAGES = Path(__file__).parents[2] / "docs" / "images"
_MARGIN = ".hive-tracker, .hive-picker, .jp-OutputArea-output:not(:has(.jupyter-widgets)) { padding: 10px !important }"


def are_taken() -> bool:
    """Return whether pictures are to be written."""
    return bool(os.environ.get("NIXHIVE_WRITE_SCREENSHOTS"))


def take(lab: JupyterLab, what: Locator, name: str) -> None:
    """Write docs/images/NAME.png and NAME-dark.png if NIXHIVE_WRITE_SCREENSHOTS is set; the theme is light after.

    All of them: NIXHIVE_WRITE_SCREENSHOTS=1 make test TESTS=tests/ui
    """
    if not are_taken():
        return
    IMAGES.mkdir(exist_ok=True)
    for theme, suffix in (("Dark", "-dark"), ("Light", "")):
        lab.theme(theme)
        lab.page.mouse.move(0, 0)
        what.screenshot(path=IMAGES / f"{name}{suffix}.png", style=_MARGIN)
