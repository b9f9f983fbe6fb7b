"""Asking a person at the terminal for a password, whatever the standard input is."""

from __future__ import annotations

import getpass
import logging
import os
import warnings

from nixhive_nb.errors import OptionError
from nixhive_nb.util.swallowed import swallowed

_log = logging.getLogger(__name__)

_TERMINAL = "/dev/tty"


def has_keyboard() -> bool:
    """Return whether this program has a terminal, from which a password can be read without showing it."""
    with swallowed(_log, "opening the terminal", OSError):
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY))
        return True
    return False


def ask_secret(prompt: str) -> str:
    """Ask for a password. Raises `OptionError` where it would be shown, or none was given."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except getpass.GetPassWarning:
            raise OptionError("This terminal would show the password. Nothing was asked.") from None
        except EOFError:
            raise OptionError("No password was given. Nothing was tried.") from None
