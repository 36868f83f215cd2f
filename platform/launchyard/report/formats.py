"""Numbers as people read them: sensible digits, never NaN."""

from __future__ import annotations

import math

from launchyard.evaluation.figures import Caption

MISSING = "–"
"""Shown where a figure was not measured or is not a number."""


def format_number(value: float | None) -> str:
    """Return ``value`` with three significant digits, or all of a whole number's.

    >>> format_number(1234567), format_number(0.83149), format_number(0.00005), format_number(float("nan"))
    ('1,234,567', '0.831', '5e-5', '–')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    mantissa, separator, exponent = f"{value:.3g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if separator else mantissa


def format_score(value: float | None) -> str:
    """Return a metric with three decimals, so that a column of them lines up.

    >>> format_score(0.83), format_score(None)
    ('0.830', '–')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,.3f}"


def format_percent(share: float | None, *, decimals: int = 1) -> str:
    """Return a share of one as per cent.

    >>> format_percent(0.831), format_percent(1.0, decimals=0)
    ('83.1%', '100%')
    """
    if share is None or not math.isfinite(share):
        return MISSING
    return f"{100 * share:.{decimals}f}%"


def format_bytes(size: int | None) -> str:
    """Return a size in the largest decimal unit that leaves a number above one.

    >>> format_bytes(999), format_bytes(91_000_000)
    ('999 B', '91.0 MB')
    """
    if size is None:
        return MISSING
    if size < 1000:
        return f"{size} B"
    power = min(int(math.log10(size) // 3), 4)
    return f"{size / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def format_seconds(seconds: float | None) -> Caption:
    """Return a duration in both languages, to the second from one minute on."""
    if seconds is None or not math.isfinite(seconds):
        return Caption(en=MISSING, zh=MISSING)
    if seconds < 60:
        number = format_number(round(seconds, 1))
        return Caption(en=f"{number} s", zh=f"{number} 秒")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return Caption(en=f"{hours} h {minutes} min", zh=f"{hours} 小时 {minutes} 分")
    return Caption(en=f"{minutes} min {rest} s", zh=f"{minutes} 分 {rest} 秒")
