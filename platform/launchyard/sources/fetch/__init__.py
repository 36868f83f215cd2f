"""From a URI to files on this machine."""
