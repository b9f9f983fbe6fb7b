"""Asking a person at a notebook for a password.

It is the password field of Jupyter itself, which stands below the cell while it is needed: what is typed goes to the
kernel as an answer, and is neither in the cell nor in its output, the state of widgets, or a history. A widget of ours
would have it in the state that the page and the kernel share, which notebooks may save. In IPython without a kernel it
is the terminal that asks.
"""

from __future__ import annotations

import getpass
import warnings

from IPython.core.error import StdinNotImplementedError

from nixhive_nb.errors import OptionError


def ask_secret(prompt: str) -> str:
    """Ask for a password. Raises `OptionError` where nobody can be asked, or none was given."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except (StdinNotImplementedError, getpass.GetPassWarning):
            raise OptionError("Nobody can be asked for a password here: this page has no field for one.") from None
        except EOFError:
            raise OptionError("No password was given. Nothing was tried.") from None
