"""Whether texts are written in the script of the language they are said to be in."""

from __future__ import annotations

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
