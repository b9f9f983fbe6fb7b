"""How fast we are, beside the other ways to do the same: `make bench`, and what it takes, `make soak`."""
