"""How often a function is called: what a large fleet costs, as a number that no busy machine changes."""

from __future__ import annotations


def counted(monkeypatch, where, name):
    """Count the calls of a function that is found by this name in this place; return the list of their arguments."""
    called, work = [], getattr(where, name)

    def counting(*words, **named):
        called.append(words)
        return work(*words, **named)

    monkeypatch.setattr(where, name, counting)
    return called
