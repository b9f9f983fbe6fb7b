"""A page in a real browser that shows one widget, without a kernel."""

from __future__ import annotations

import contextlib
import os
import shutil

from nixhive_nb.notebook.own_widget import script, style

_BESIDE = "/usr/lib/chromium"
"""Where Debian has the browser without windows, which takes a fifth less of a processor than the whole one."""


def chromium() -> str | None:
    """Return the browser's program: the one without windows, else the whole one, if there is any."""
    return shutil.which("chromium-headless-shell", path=f"{os.environ['PATH']}:{_BESIDE}") or shutil.which("chromium")


@contextlib.contextmanager
def window(started, executable, args, answer):
    """Get one page of one browser, and the list of the errors of its scripts. `answer` serves all that it asks for."""
    browser = started.chromium.launch(executable_path=executable, args=args)
    page, errors = browser.new_page(viewport={"width": 1000, "height": 700}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/*", answer)
    yield page, errors
    browser.close()


def answers(widget, page):
    """Return what serves a page, and beside it the script and the style of a widget, from its module."""

    def answer(route):
        name = route.request.url.rpartition("/")[2]
        if name == widget.SCRIPT.name:
            route.fulfill(body=script(widget.SCRIPT), content_type="text/javascript")
        elif name == widget.STYLE.name:
            route.fulfill(body=style(widget.STYLE), content_type="text/css")
        else:
            route.fulfill(body="" if name else page, content_type="text/html")

    return answer
