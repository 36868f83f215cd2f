"""``launchyard serve`` on this machine."""
