"""The product kinds that there are: one package in this folder each, and those of other installed distributions.

A distribution adds a kind by an entry point of the group ``launchyard.kinds``, named as the kind is, such as::

    [project.entry-points."launchyard.kinds"]
    churn = "acme_churn:KIND"
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points

import launchyard
from launchyard.errors import SpecError
from launchyard.kind import Kind

GROUP = "launchyard.kinds"


@dataclass(frozen=True)
class InstalledKind:
    """A kind, or why it cannot be used, and where it comes from."""

    name: str
    origin: str
    """The distribution and its version."""
    kind: Kind | None
    package: str
    """The package or module at the top that holds its code."""
    problem: str | None = None
    """What is wrong with the distribution, and what to do; then there is no kind."""
    is_built_in: bool = False


@cache
def list_installed_kinds() -> tuple[InstalledKind, ...]:
    """Return every kind by name, also those that cannot be used."""
    package = importlib.import_module(__name__)
    own = f"launchyard {launchyard.__version__}"
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    built_in = [InstalledKind(module.KIND.name, own, module.KIND, "launchyard", is_built_in=True) for module in modules]
    # An environment may list one distribution twice, such as an editable one beside its source.
    points = {(point.name, point.value): point for point in entry_points(group=GROUP)}
    found = [*built_in, *(_load(point) for point in points.values())]
    counts = Counter(installed.name for installed in found)
    checked = [_refuse_clash(installed, found) if counts[installed.name] > 1 else installed for installed in found]
    return tuple(sorted(checked, key=lambda installed: (installed.name, installed.origin)))


def iter_kinds() -> tuple[Kind, ...]:
    """Return every kind that can be used, by name."""
    return tuple(installed.kind for installed in list_installed_kinds() if installed.kind is not None)


def iter_built_in_kinds() -> tuple[Kind, ...]:
    """Return the kinds of this distribution, by name: what its own reference describes."""
    return tuple(installed.kind for installed in list_installed_kinds() if installed.is_built_in and installed.kind)


def find_kind(name: str) -> Kind | None:
    """Return the kind called ``name``, or None when none of that name can be used."""
    return next((kind for kind in iter_kinds() if kind.name == name), None)


def get_kind(name: str) -> Kind:
    """Return the kind called ``name``.

    Raises:
        SpecError: there is none, or the distribution that should bring it is broken; the message names the nearest and
            all known ones, or what to do.
    """
    kinds = {kind.name: kind for kind in iter_kinds()}
    if name in kinds:
        return kinds[name]
    if problems := [found.problem for found in list_installed_kinds() if found.name == name and found.problem]:
        raise SpecError(f"kind: {problems[0]}")
    near = get_close_matches(name, kinds, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise SpecError(f"kind: '{name}' is not a product kind.{hint} Known kinds: {', '.join(kinds)}.")


def _load(point: EntryPoint) -> InstalledKind:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    package = point.module.partition(".")[0]
    try:
        kind = point.load()
    except Exception as err:  # noqa: BLE001 - what strangers' code raises must not stop products of other kinds
        problem = f"'{point.name}' of {origin} cannot be loaded: {type(err).__name__}: {err}. Update or uninstall it."
        return InstalledKind(point.name, origin, None, package, problem)
    if not isinstance(kind, Kind):
        problem = f"'{point.name}' of {origin}: {point.value} is no launchyard.kind.Kind. Update or uninstall it."
        return InstalledKind(point.name, origin, None, package, problem)
    if kind.name != point.name:
        problem = f"'{point.name}' of {origin} calls itself '{kind.name}'. Its entry point must have that name."
        return InstalledKind(point.name, origin, None, package, problem)
    return InstalledKind(kind.name, origin, kind, package)


def _refuse_clash(installed: InstalledKind, all_installed: list[InstalledKind]) -> InstalledKind:
    """Return a kind as one that cannot be used, as others have its name: nobody chose which of them is meant."""
    origins = sorted(other.origin for other in all_installed if other.name == installed.name)
    problem = f"'{installed.name}' is brought by {' and by '.join(origins)}. Uninstall all but one."
    return replace(installed, kind=None, problem=problem)
