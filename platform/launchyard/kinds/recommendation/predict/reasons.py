"""Why an item is recommended, in words for the person it is recommended to.

Array legend: K items of one answer, M items of a history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from launchyard.kinds.recommendation.data.profiles import Profile
from launchyard.kinds.recommendation.predict.item_table import ItemTable

LOOKED_AT = 20
"""Newest items of a history that may be given as the reason: a person remembers these."""
SIMILAR = 0.4
"""Cosine of two items' vectors from which one is a reason for the other."""
SHOWN = 3


class Reasons:
    """Gives reasons from what was taken together, from favourite categories, or from popularity."""

    def __init__(self, item_table: ItemTable) -> None:
        self._shelf = item_table
        self._sizes = Counter(name for names in item_table.facts.categories for name in names)

    def give(self, positions_K: NDArray[np.intp], profile: Profile, *, is_personal: bool) -> list[str]:
        """Return one reason for each item."""
        if not is_personal:
            return ["Popular with everyone"] * len(positions_K)
        similar = self._compare(positions_K, profile)
        reasons = []
        for row, place in enumerate(positions_K.tolist()):
            if similar is not None and similar[1][row].max() >= SIMILAR:
                reasons.append(f"Because you chose {self._shelf.titles[similar[0][int(similar[1][row].argmax())]]}")
            else:
                reasons.append(self._name_category(place, profile.categories))
        return reasons

    def find_similar(self, positions_K: NDArray[np.intp], profile: Profile) -> dict[str, dict[str, float]]:
        """Return for each item the items of the history that are most like it, with the cosine."""
        similar = self._compare(positions_K, profile)
        ids = self._shelf.facts.ids
        if similar is None:
            return {ids[place]: {} for place in positions_K.tolist()}
        places, cosine_KM = similar
        found = {}
        for row, place in enumerate(positions_K.tolist()):
            nearest = np.argsort(-cosine_KM[row], kind="stable")[:SHOWN]
            found[ids[place]] = {ids[places[near]]: float(cosine_KM[row][near]) for near in nearest}
        return found

    def _compare(self, positions_K: NDArray[np.intp], profile: Profile) -> tuple[list[int], NDArray[np.float32]] | None:
        """Return the newest items of the history and their cosine with each item; None without a history."""
        places = self._shelf.find(profile.recent_items[-LOOKED_AT:])
        if not places or not len(positions_K):
            return None
        vectors_IV = self._shelf.facts.vectors_IV
        return places, vectors_IV[positions_K] @ vectors_IV[places].T

    def _name_category(self, place: int, liked: Mapping[str, int]) -> str:
        names = [name for name in self._shelf.facts.categories[place] if name in liked]
        if not names:
            return "People with a similar history chose it"
        # What stands out: chosen more often than the catalogue would make it.
        return f"You often choose {max(names, key=lambda name: liked[name] / self._sizes[name])}"
