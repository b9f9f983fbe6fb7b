"""Hosts reached from elsewhere: workers of `dask.distributed` beside the relays carry what goes to a host."""
