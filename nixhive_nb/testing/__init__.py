"""A fleet that is not there, for trying plans: a backend that touches nothing."""
