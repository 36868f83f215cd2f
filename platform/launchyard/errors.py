"""What goes wrong, one class per thing a caller can do about it.

Every message reads ``where: what is wrong, what was found. What to do.``. Each class is also the
builtin a caller would expect, holds only its message, and so survives pickling across processes.
"""

from __future__ import annotations

from typing import ClassVar


class LaunchyardError(Exception):
    """The root of all errors that are shown to a user without a traceback."""

    exit_code: ClassVar[int] = 1


class SpecError(LaunchyardError, ValueError):
    """A product spec (or an override of it) is wrong; the message lists every problem, one a line."""

    exit_code = 2


class SourceError(LaunchyardError, OSError):
    """Data or a model could not be fetched or read."""


class DataError(LaunchyardError, ValueError):
    """The rows are there but not fit to train on."""


class TrainError(LaunchyardError, RuntimeError):
    """Training or tuning could not start or did not converge."""


class BundleError(LaunchyardError, ValueError):
    """A bundle is incomplete, altered, too new or not released, and is therefore not loaded."""


class RegistryError(LaunchyardError, LookupError):
    """A product, version or rollout record does not exist or changed underneath the caller."""


class GateRefused(LaunchyardError, RuntimeError):  # noqa: N818 - a refusal is a verdict, not a fault
    """A gate did not pass: the model exists and was measured, but may not be released."""

    exit_code = 3


class RunError(LaunchyardError, RuntimeError):
    """A pipeline run could not start, was cancelled, or one of its steps failed."""


class RequestError(LaunchyardError, ValueError):
    """One prediction request is malformed; the message is safe to show to the caller."""


class TooLargeError(RequestError):
    """One request holds more, or larger, inputs than the server takes at once; smaller requests may be answered."""


class ServerError(LaunchyardError, ConnectionError):
    """The serving endpoint could not be started or reached, or answered with an error."""


class FeatureStoreError(LaunchyardError, ConnectionError):
    """Features could not be read or kept: the store is unreachable, too slow, or was never published to."""
