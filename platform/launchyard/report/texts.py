"""The report's phrases in its two languages, read from ``texts.yaml``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import cast

import yaml
from markupsafe import Markup, escape

from launchyard.evaluation.figures import Caption

TEXTS_PATH = Path(__file__).with_name("texts.yaml")


def load_texts() -> Mapping[str, Mapping[str, Caption]]:
    """Return group -> key -> phrase of the platform's own."""
    return read_texts(TEXTS_PATH)


@cache
def read_texts(path: Path) -> Mapping[str, Mapping[str, Caption]]:
    """Return group -> key -> phrase of a file of texts."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        group: {str(key): Caption.model_validate(value) for key, value in phrases.items()}
        for group, phrases in cast(dict[str, dict[str, object]], raw).items()
    }


def phrase(path: str, **values: str | Caption) -> Caption:
    """Return the phrase at ``group.key`` with its ``{placeholders}`` filled in each language.

    Raises:
        KeyError: there is no such phrase, or a placeholder has no value.
    """
    group, _, key = path.partition(".")
    text = load_texts()[group][key]
    return Caption(
        en=text.en.format(**{name: in_language(value, "en") for name, value in values.items()}),
        zh=text.zh.format(**{name: in_language(value, "zh") for name, value in values.items()}),
    )


def name_in(group: str, name: str) -> Caption:
    """Return what people call ``name``, a term of the records; an unknown one keeps its name in both languages."""
    return find_name(load_texts().get(group, {}), name) or as_data(name)


def find_name(phrases: Mapping[str, Caption], name: str) -> Caption | None:
    """Return the phrase for ``name``, or None.

    A key with ``{a}`` or ``{b}`` in it stands for every name that has numbers there.
    """
    if name in phrases:
        return phrases[name]
    for key, text in phrases.items():
        match = _pattern(key).fullmatch(name) if "{" in key else None
        if match:
            return Caption(en=text.en.format(**match.groupdict()), zh=text.zh.format(**match.groupdict()))
    return None


def join_names(names: Sequence[Caption]) -> Caption:
    """Return names as one enumeration.

    >>> join_names([as_data("a"), as_data("b"), as_data("c")]).en
    'a, b and c'
    """
    *most, last = names
    separate = ", ".join(name.en for name in most)
    return Caption(en=f"{separate} and {last.en}" if most else last.en, zh="、".join(name.zh for name in names))


@cache
def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w)\\}", r"(?P<\1>[\\d.,]+)", re.escape(key)))


def as_data(text: str) -> Caption:
    """Return a text that belongs to the user's data and is the same in both languages."""
    return Caption(en=text, zh=text)


def in_language(value: str | Caption, language: str) -> str:
    """Return one language of ``value``; a plain string is the same in all of them."""
    return value if isinstance(value, str) else cast(str, getattr(value, language))


def mark_up(caption: str | Caption) -> Markup:
    """Return both languages as HTML, escaped; CSS shows one of them.

    What is the same in both is data, and marked as such for translation tools and screen readers.
    """
    if isinstance(caption, str) or caption.en == caption.zh:
        return Markup('<span translate="no">{}</span>').format(in_language(caption, "en"))
    return Markup('<span class="en" lang="en">{}</span><span class="zh" lang="zh-Hans">{}</span>').format(
        escape(caption.en), escape(caption.zh)
    )
