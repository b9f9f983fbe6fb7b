"""The formats that a deployment can have: one file each, with two calls, `inventory` and `toplevels`."""
