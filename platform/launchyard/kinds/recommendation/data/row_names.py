"""Which events stand in a row, so that it can be told whether a model was trained on them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from launchyard.contract.rows import RowNames


def name_events(rows: pa.Table) -> RowNames:
    """Return the events of training rows, one each, or of held-out users: all that an answer is measured by.

    An event is who took what and when. The same item at another time is another event.
    """
    if "items" not in rows.column_names:
        return _name(np.arange(rows.num_rows), rows["user"], rows["item"], rows["timestamp"])
    lengths = pc.list_value_length(rows["items"]).to_numpy()
    places = np.repeat(np.arange(rows.num_rows), lengths)
    users = rows["user"].take(pa.array(places))
    return _name(places, users, pc.list_flatten(rows["items"]), pc.list_flatten(rows["times"]))


def _name(places: NDArray[np.intp], users: pa.ChunkedArray, items: pa.ChunkedArray, times: pa.ChunkedArray) -> RowNames:
    names = [f"{time!r}\0{item}" for time, item in zip(times.to_pylist(), items.to_pylist(), strict=True)]
    return RowNames(places, names, users.to_pylist())
