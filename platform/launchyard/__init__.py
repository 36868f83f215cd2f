"""Launchyard: from raw data to a monitored, explained, self-retraining endpoint with one file."""

from importlib.metadata import version

__version__ = version("launchyard")
