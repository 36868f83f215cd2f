"""Sources: one resolver from URIs to rows and model folders."""

from launchyard.sources.resolve import Fetched, fetch

__all__ = ["Fetched", "fetch"]
