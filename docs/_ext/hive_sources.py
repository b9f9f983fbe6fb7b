"""What pages need to be read both here and on GitHub.

Links to what stands outside of `docs/` lead to the page of this site that shows it. A picture gives way to its dark
twin in the dark, where it has one. The quickstart is shown with the outputs of the last `make demo`, where that ran the
notebook as it is now; otherwise without any.
"""

# ruff: noqa: INP001 - Sphinx imports this file by its name

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent.parent
ELSEWHERE = re.compile(
    r"\[(?P<text>[^\]]+)\]\((?:\.\./)+(?P<path>(?:notebooks/[\w-]+\.ipynb|example/|CHANGELOG\.md|CONTRIBUTING\.md|README\.md))[^)]*\)"
)
LINKED = ("contributing",)
"""Pages that are files of the checkout's root, and lead to others from there."""
FROM_ROOT = re.compile(r"\]\(docs/")
PICTURE = re.compile(r"^!\[(?P<alt>[^\]]*)\]\((?P<path>images/[\w-]+)\.png\)$", re.MULTILINE)
QUICKSTART = "notebooks/01-quickstart"
EXECUTED = ROOT / "build" / "quickstart.ipynb"
RAN = "*The outputs below are those of the last `make demo` in this checkout.*"
NOT_RUN = "*The outputs are left out here. `make demo` runs this notebook, and keeps it with its outputs in `build/`.*"


def on_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change the text of a page before it is read."""
    if docname.startswith("notebooks/"):
        app.env.note_reread()  # another run may follow
        notebook = json.loads(source[0])
        shown = quickstart(notebook) if docname == QUICKSTART else notebook
        source[0] = json.dumps(with_magics(shown))
    else:
        text = FROM_ROOT.sub("](", source[0]) if docname in LINKED else source[0]
        source[0] = PICTURE.sub(picture, ELSEWHERE.sub(link, text))


def with_magics(notebook: dict[str, Any]) -> dict[str, Any]:
    """Give a notebook that says that its Python has magics; one that no kernel ran does not say so."""
    metadata = notebook["metadata"]
    return {**notebook, "metadata": {**metadata, "language_info": {"name": "python", "pygments_lexer": "ipython3"}}}


def link(found: re.Match[str]) -> str:
    """Give a link to a page of the site in place of one to a file of the checkout."""
    text = found["text"].replace("`", "")
    return f"{{doc}}`{text} <{page(found['path'])}>`"


def picture(found: re.Match[str]) -> str:
    """Give a picture for the light and its twin for the dark; one without a twin as it is."""
    path, alt = found["path"], found["alt"]
    if not (ROOT / "docs" / f"{path}-dark.png").is_file():
        return found[0]
    kinds = ((f"{path}.png", "only-light"), (f"{path}-dark.png", "only-dark"))
    return "\n\n".join(f"```{{image}} {file}\n:alt: {alt}\n:class: {kind}\n```" for file, kind in kinds)


def page(path: str) -> str:
    """Give the page of the site that shows a file of the checkout."""
    if path.startswith("notebooks/"):
        return f"/{path.removesuffix('.ipynb')}"
    shown = {"CHANGELOG.md": "/changes", "CONTRIBUTING.md": "/contributing", "README.md": "/index"}
    return {**shown, "example/": "/reference/example"}[path]


def quickstart(notebook: dict[str, Any]) -> dict[str, Any]:
    """Give the notebook as it ran, and say so; as it is where it did not run since it was changed."""
    ran = json.loads(EXECUTED.read_text()) if EXECUTED.is_file() else None
    same = ran is not None and sources(ran) == sources(notebook)
    shown = ran if ran is not None and same else notebook
    note = {"cell_type": "markdown", "id": "how-it-ran", "metadata": {}, "source": RAN if same else NOT_RUN}
    return {**shown, "cells": [shown["cells"][0], note, *shown["cells"][1:]]}


def sources(notebook: dict[str, Any]) -> list[str]:
    """Give what stands in the cells, in their order."""
    return ["".join(cell["source"]) for cell in notebook["cells"]]


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of it."""
    app.connect("source-read", on_source)
    return {"parallel_read_safe": True}
