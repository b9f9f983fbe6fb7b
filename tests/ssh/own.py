"""What stands in ssh configurations that people have."""

from __future__ import annotations

OF_SYSTEMD = """Host .host machine/.host
  ProxyCommand /usr/lib/systemd/systemd-ssh-proxy unix/run/ssh-unix-local/socket %p
  ProxyUseFdpass yes
Host unix/* unix%* vsock/* vsock%* machine/* machine%*
  User root
  ProxyCommand /usr/lib/systemd/systemd-ssh-proxy %h %p
  ProxyUseFdpass yes
  StrictHostKeyChecking no
"""
"""As systemd brings it for all users of a machine, from 256 on: for hosts that no deployment names."""
