"""A page in a real browser that shows one widget, without a kernel."""

from __future__ import annotations

import contextlib


@contextlib.contextmanager
def window(started, executable, args, answer):
    """Give one page of one browser, and the list of the errors of its scripts. `answer` serves all that it asks for."""
    browser = started.chromium.launch(executable_path=executable, args=args)
    page, errors = browser.new_page(viewport={"width": 1000, "height": 700}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/*", answer)
    yield page, errors
    browser.close()


def answers(widget, files, page):
    """Give what serves a page, and beside it the files of a widget."""

    def answer(route):
        name = route.request.url.rpartition("/")[2]
        if name.startswith(f"{widget}."):
            route.fulfill(path=files / name)
        else:
            route.fulfill(body="" if name else page, content_type="text/html")

    return answer
