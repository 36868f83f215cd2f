"""Whether texts are written in the script of the language they are said to be in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

_SCRIPTS = {
    "Latin": r"\p{Latin}",
    "Chinese": r"\p{Han}",
    "Japanese": r"[\p{Hiragana}\p{Katakana}]",
    "Korean": r"\p{Hangul}",
    "Cyrillic": r"\p{Cyrillic}",
    "Arabic": r"\p{Arabic}",
    "Hebrew": r"\p{Hebrew}",
    "Greek": r"\p{Greek}",
    "Devanagari": r"\p{Devanagari}",
    "Thai": r"\p{Thai}",
}
_LANGUAGES = {
    ("zh",): ("Chinese",),
    ("ja",): ("Japanese", "Chinese"),
    ("ko",): ("Korean", "Chinese"),
    ("ru", "uk", "be", "bg", "mk", "kk", "ky", "mn"): ("Cyrillic",),
    ("sr",): ("Cyrillic", "Latin"),
    ("ar", "fa", "ur", "ps"): ("Arabic",),
    ("he", "yi"): ("Hebrew",),
    ("el",): ("Greek",),
    ("hi", "mr", "ne"): ("Devanagari",),
    ("th",): ("Thai",),
}
_SCRIPTS_OF_LANGUAGE = {language: scripts for languages, scripts in _LANGUAGES.items() for language in languages}
_OTHER_SCRIPTS = {"bn", "ta", "te", "kn", "ml", "gu", "pa", "si", "my", "km", "lo", "ka", "hy", "am", "bo"}
"""Languages of scripts that are not told apart here."""

_MOST_GUESSED = 200
"""Texts that are looked at: most must be of one language, so more would not say more."""
_LONGEST_GUESSED = 1000
_FEWEST_LETTERS = 100
_LARGEST_FOREIGN_SHARE = 0.5


def check_script(texts: pa.ChunkedArray, language: str) -> str | None:
    """Return what is wrong when most letters of ``texts`` belong to another script than ``language``; None if not."""
    if language in _OTHER_SCRIPTS:
        return None
    counts = {name: pc.sum(pc.count_substring_regex(texts, pattern=p)).as_py() or 0 for name, p in _SCRIPTS.items()}
    num_letters = sum(counts.values())
    expected = _SCRIPTS_OF_LANGUAGE.get(language, ("Latin",))
    foreign = {name: count for name, count in counts.items() if name not in expected}
    share = sum(foreign.values()) / max(1, num_letters)
    if num_letters < _FEWEST_LETTERS or share <= _LARGEST_FOREIGN_SHARE:
        return None
    script = max(foreign, key=lambda name: foreign[name])
    return (
        f"data.language: is '{language}', but {share:.0%} of the letters are of another script, mostly {script}. "
        "Set the language of the texts and a base model that knows it."
    )


def guess_language(texts: Sequence[str]) -> str:
    """Return the ISO 639 code of the language that most of the texts are in.

    >>> guess_language(["Where is my parcel? It should be here by now.", "I want my money back, please."])
    'en'
    """
    from py3langid import langid  # noqa: PLC0415 - loads a model, and only a new spec needs it

    step = max(1, len(texts) // _MOST_GUESSED)
    found = Counter(langid.classify(text[:_LONGEST_GUESSED])[0] for text in texts[::step])
    return str(found.most_common(1)[0][0]) if found else "en"
