"""The deployment: what `hive.nix` says, as frozen values, and which of its instances a pattern names."""
