"""The words for what a deployment may have refused. What they do: `plan/guards.py`."""

REFUSED = ("all", "dirty", "older")
"""What a deployment may have refused: a deploy that names no instance, one of what is not committed, and one to hosts
that run what its history does not have."""
NOTHING = "nothing"
"""The word for refusing none of them."""
