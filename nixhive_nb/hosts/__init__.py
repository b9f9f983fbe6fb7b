"""Words for a host, and the reading of its answer."""
