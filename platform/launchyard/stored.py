"""The base of every value that is kept as a JSON document: manifests, measures, versions."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Stored(BaseModel):
    """A value object that is written to disk and read back by a later step, perhaps a newer version."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def rename_key(value: object, former: str, name: str) -> object:
    """Return a document in which ``former``, as older versions wrote it, is called ``name``.

    >>> rename_key({"accuracy": 0.9, "n": 5}, "accuracy", "quality")
    {'n': 5, 'quality': 0.9}
    """
    if not isinstance(value, dict) or former not in value:
        return value
    return {key: found for key, found in value.items() if key != former} | {name: value[former]}
