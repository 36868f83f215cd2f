"""What the recommenders' losses are made of: windows, samples, negatives, and the arithmetic serving repeats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from launchyard.errors import DataError
from launchyard.kinds.recommendation.architectures import LightGcn, SasRec
from launchyard.kinds.recommendation.data.histories import (
    Events,
    HeldOut,
    History,
    ItemVocabulary,
    collect_held_out,
    join_histories,
    pad_newest,
    read_catalogue,
    read_events,
)
from launchyard.kinds.recommendation.predict.ranking import rank_unseen, take_best
from launchyard.kinds.recommendation.predict.scorers import SasRecScorer, pack_names, unpack_names
from launchyard.kinds.recommendation.train.networks import CHUNK_LOGITS_CPU, CatalogueSoftmax, Dropout, SasRecNetwork
from launchyard.kinds.recommendation.train.pairs import GraphNetwork, PairTask, normalise_graph
from launchyard.kinds.recommendation.train.tasks import SequenceTask, cut_windows
from recommendation_rows import HISTORY_TYPE, make_walks, write_walks

NUM_ITEMS = 30
MODEL = SasRec(architecture="sasrec", dim=16, heads=4, max_length=6, dropout=0.0)


def make_history(items: Sequence[int], weights: Sequence[float] | None = None) -> History:
    size = len(items)
    weights_L = np.ones(size) if weights is None else np.array(weights)
    return History(np.array(items, np.int32), np.arange(size, dtype=float), weights_L.astype(np.float32), 99.0)


def make_events(walks: Sequence[Sequence[int]]) -> Events:
    return join_histories([make_history(walk) for walk in walks])


def make_catalogue(num_items: int = NUM_ITEMS) -> ItemVocabulary:
    return ItemVocabulary(tuple(f"i{number}" for number in range(num_items)), np.arange(num_items)[::-1].copy())


def make_held_out(events: Events) -> HeldOut:
    return HeldOut(events, np.zeros(len(events.users)), tuple(np.array([0], np.int32) for _ in events.users))


def make_network(model: SasRec = MODEL, *, num_items: int = NUM_ITEMS) -> SasRecNetwork:
    """Return a network whose weights are large enough that nothing is nearly linear."""
    torch.manual_seed(3)
    network = SasRecNetwork(num_items, model)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    network.eval()
    return network


def make_task(events: Events, *, negatives: int | None = None, model: SasRec = MODEL) -> SequenceTask:
    return SequenceTask(
        model=make_network(model),
        events=events,
        validation=make_held_out(events),
        catalogue=make_catalogue(),
        max_length=model.max_length,
        negatives=negatives,
        exclude_seen=True,
        device="cpu",
    )


def random_walks(*lengths: int) -> list[list[int]]:
    generator = np.random.default_rng(5)
    return [generator.integers(0, NUM_ITEMS, length).tolist() for length in lengths]


@pytest.mark.parametrize("lengths", [(1, 2, 6, 7), (8, 13, 14, 0, 5), (1,)])
def test_each_event_but_a_users_first_is_the_target_of_exactly_one_window(lengths: tuple[int, ...]) -> None:
    events = make_events(random_walks(*lengths))

    windows = cut_windows(events, 6)

    targets = [
        target
        for start, length in zip(windows.starts_R, windows.lengths_R, strict=True)
        for target in range(start + 1, start + length + 1)
    ]
    firsts = {int(start) for start in events.starts_U[:-1]}
    assert sorted(targets) == [event for event in range(len(events.items_E)) if event not in firsts]
    assert all(1 <= length <= 6 for length in windows.lengths_R)


def test_the_newest_window_of_a_long_history_is_full() -> None:
    windows = cut_windows(make_events(random_walks(9)), 6)

    assert windows.lengths_R.tolist() == [6, 2]


def test_a_history_of_100000_events_costs_no_more_than_the_newest() -> None:
    events = make_events([*random_walks(3), [number % NUM_ITEMS for number in range(100_000)]])

    items_BP, lengths_B = pad_newest(events, np.array([0, 1]), 6)

    assert items_BP.shape == (2, 6)
    assert lengths_B.tolist() == [3, 6]
    assert items_BP[1].tolist() == [number % NUM_ITEMS for number in range(99_994, 100_000)]
    assert cut_windows(events, 6).lengths_R.max() == 6


@pytest.mark.parametrize("num_targets", [7, 2 * CHUNK_LOGITS_CPU // NUM_ITEMS + 5], ids=["one chunk", "three chunks"])
def test_the_catalogue_softmax_is_weighted_cross_entropy(num_targets: int) -> None:
    torch.manual_seed(0)
    vectors_ID = torch.randn(NUM_ITEMS, 4, requires_grad=True)
    queries_ND = torch.randn(num_targets, 4, requires_grad=True)
    items_N, weights_N = torch.randint(NUM_ITEMS, (num_targets,)), torch.rand(num_targets)
    expected = (weights_N * cross_entropy(queries_ND @ vectors_ID.T, items_N, reduction="none")).sum() * 2
    expected_grads = torch.autograd.grad(expected, (queries_ND, vectors_ID))

    loss = CatalogueSoftmax.apply(queries_ND, vectors_ID, items_N, weights_N) * 2

    torch.testing.assert_close(loss, expected)
    grads = torch.autograd.grad(loss, (queries_ND, vectors_ID))
    torch.testing.assert_close(grads, expected_grads, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("negatives", [None, 5])
def test_a_windows_loss_does_not_depend_on_the_windows_beside_it(negatives: int | None) -> None:
    task = make_task(make_events(random_walks(3, 9, 2, 14)), negatives=negatives)
    rows_B = np.arange(len(task.train_lengths_R))
    torch.manual_seed(11)

    together = task.compute_loss(task.model, rows_B)

    alone = sum(task.compute_loss(task.model, rows_B[row : row + 1]) for row in rows_B)
    torch.testing.assert_close(together, torch.as_tensor(alone), rtol=1e-5, atol=1e-5)


def test_the_weights_of_windows_are_those_of_their_targets() -> None:
    events = join_histories([make_history([1, 2, 3], [9.0, 2.0, 0.5]), make_history([4, 5], [7.0, 1.0])])

    assert make_task(events).weights_R.tolist() == pytest.approx([2.5, 1.0])


def test_the_sampled_loss_estimates_the_full_one() -> None:
    events = make_events(random_walks(12, 12))
    full, sampled = make_task(events), make_task(events, negatives=4000)
    rows_B = np.arange(len(full.train_lengths_R))

    expected = full.compute_loss(full.model, rows_B).item()
    torch.manual_seed(1)
    loss = sampled.compute_loss(sampled.model, rows_B).item()

    assert loss == pytest.approx(expected, rel=0.02)


def test_a_place_does_not_see_what_comes_after_it() -> None:
    network = make_network()
    items_BP = torch.tensor([[1, 2, 3, 4], [1, 2, 9, 8]])

    queries_BPD = network.encode(items_BP, torch.tensor([4, 4]))

    torch.testing.assert_close(queries_BPD[0, :2], queries_BPD[1, :2])
    assert (queries_BPD[0, 2] - queries_BPD[1, 2]).abs().max() > 1e-3


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_serving_repeats_the_networks_arithmetic(layers: int) -> None:
    model = MODEL.model_copy(update={"layers": layers})
    network = make_network(model)
    histories = [make_history(walk) for walk in random_walks(1, 4, 6, 40)]
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    items_BP, lengths_B = pad_newest(join_histories(histories), np.arange(4), model.max_length)
    with torch.inference_mode():
        queries_BPD = network.encode(torch.from_numpy(items_BP).long(), torch.from_numpy(lengths_B))
        expected_BI = queries_BPD[torch.arange(4), torch.from_numpy(lengths_B) - 1] @ network.embed().T

    scores_BI = SasRecScorer(model, arrays | {"popularity_I": np.ones(NUM_ITEMS, np.float32)}).score(histories)

    np.testing.assert_allclose(scores_BI, expected_BI.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    dropout = Dropout(share).train()

    values = dropout(torch.ones(999, 101))

    assert float((values == 0).float().mean()) == pytest.approx(share, abs=0.01)
    assert float(values.mean()) == pytest.approx(1, abs=0.01)
    assert torch.equal(dropout.eval()(torch.ones(3)), torch.ones(3))


def make_pair_task(*, negatives: int = 3, layers: int = 2) -> PairTask:
    events = make_events(random_walks(5, 9, 20))
    model = LightGcn(architecture="lightgcn", dim=4, layers=layers, negatives=negatives)
    torch.manual_seed(2)
    network = GraphNetwork(normalise_graph(events, NUM_ITEMS), 3, model, "cpu")
    return PairTask(network, events, make_held_out(events), make_catalogue(), model, exclude_seen=True, device="cpu")


def test_negatives_are_not_taken_and_depend_on_seed_and_row_alone() -> None:
    task = make_pair_task()
    rows_B = np.arange(len(task.train_lengths_R))

    negatives_BS = task.draw_negatives(rows_B, seed=2**63 + 5)

    taken = [set(task.events.items_E[start:end]) for start, end in zip(*_bounds(task.events), strict=True)]
    users_B = task.events.repeat_users()
    assert not any(set(row) & taken[user] for row, user in zip(negatives_BS, users_B, strict=True))
    np.testing.assert_array_equal(task.draw_negatives(rows_B[4:6], seed=2**63 + 5), negatives_BS[4:6])
    assert (task.draw_negatives(rows_B, seed=6) != negatives_BS).mean() > 0.5


def _bounds(events: Events) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return events.starts_U[:-1], events.starts_U[1:]


def test_an_events_loss_does_not_depend_on_the_events_beside_it() -> None:
    task = make_pair_task()
    rows_B = np.arange(len(task.train_lengths_R))
    torch.manual_seed(11)

    together = task.compute_loss(task.model, rows_B)

    alone = sum(task.compute_loss(task.model, rows_B[row : row + 1]) for row in rows_B)
    torch.testing.assert_close(together, torch.as_tensor(alone), rtol=1e-5, atol=1e-5)


def test_the_graph_averages_neighbours_by_both_degrees() -> None:
    events = make_events([[0, 1, 1], [1]])
    model = LightGcn(architecture="lightgcn", dim=4, layers=1)
    network = GraphNetwork(normalise_graph(events, 2), 2, model, "cpu")

    learned_MD, spread_MD = network.propagate()

    # User 0 took items 0 and 1 (once counted), item 1 was taken by both users.
    torch.testing.assert_close(spread_MD[0], learned_MD[2] / 2**0.5 + learned_MD[3] / 2)
    torch.testing.assert_close(spread_MD[3], learned_MD[0] / 2 + learned_MD[1] / 2**0.5)


def test_the_graphs_gradient_reaches_the_neighbours() -> None:
    task = make_pair_task()
    vectors = task.model.vectors.weight
    rows_B = np.array([0, 7])
    torch.manual_seed(1)
    task.compute_loss(task.model, rows_B).backward()
    assert vectors.grad is not None
    place = int(vectors.grad.abs().sum(dim=1).argmax())

    losses = []
    for shift in (1e-2, -1e-2):
        with torch.no_grad():
            vectors[place, 0] += shift
            losses.append(float(task.compute_loss(task.model, rows_B)))
            vectors[place, 0] -= shift

    assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(float(vectors.grad[place, 0]), rel=0.01, abs=1e-4)


def test_what_a_user_took_is_not_recommended_again() -> None:
    events = make_events([[2, 0], []])
    scores_BI = np.array([[9, 5, 8, 7], [9, 5, 8, 7]], dtype=np.float32)

    lists_BK = rank_unseen(scores_BI, events, np.array([0, 1]), 4)

    assert lists_BK.tolist() == [[3, 1, -1, -1], [0, 2, 3, 1]]


def test_equal_scores_rank_by_position() -> None:
    assert take_best(np.array([[1, 3, 3, 3, 1]], np.float32), 3).tolist() == [[1, 2, 3]]
    assert take_best(np.array([[1, 3, 3, 3, 1]], np.float32), 4).tolist() == [[1, 2, 3, 0]]


def test_names_survive_as_bytes() -> None:
    names = ["ab", "a", "längst"]

    assert [name.decode() for name in unpack_names(pack_names(names))] == names


def test_events_of_items_outside_the_catalogue_are_left_out(tmp_path: Path) -> None:
    rows = write_walks(tmp_path / "rows", [[0, 1, 2, 3, 4], [39, 0, 39, 5, 6], [39, 39, 39, 7, 8]])
    catalogue = ItemVocabulary(tuple(f"i{number}" for number in range(39)), np.zeros(39, np.int64))

    events = read_events(rows, catalogue)

    assert events.users == (f"{0:032x}", f"{1:032x}")
    assert events.items_E.tolist() == [0, 1, 2, 0]
    assert events.starts_U.tolist() == [0, 3, 4]


def test_training_rows_without_any_known_item_are_refused(tmp_path: Path) -> None:
    rows = write_walks(tmp_path / "rows", make_walks(5))

    with pytest.raises(DataError, match="no event of an item in the catalogue"):
        read_events(rows, ItemVocabulary(("other",), np.zeros(1, np.int64)))


def test_a_catalogue_that_lists_an_item_twice_is_refused(tmp_path: Path) -> None:
    rows = write_walks(tmp_path / "rows", make_walks(5))
    table = pq.read_table(rows / "items.parquet")
    pq.write_table(pa.concat_tables([table, table]), rows / "items.parquet")

    with pytest.raises(DataError, match="lists an item twice"):
        read_catalogue(rows)


def test_held_out_rows_keep_known_events_and_mark_unknown_truth() -> None:
    def event(item: str, timestamp: float) -> dict[str, object]:
        return {"item": item, "timestamp": timestamp, "event": None, "weight": 2.0}

    table = pa.table(
        {
            "user": ["a", "b", "c"],
            "events": pa.array(
                [[event("i1", 5.0), event("gone", 6.0), event("i0", 7.0)], [], [event("i2", 1.0)]], HISTORY_TYPE
            ),
            "items": [["i3"], ["gone", "i1"], ["i0"]],
            "time": [8.0, 9.0, 10.0],
        }
    )

    held_out = collect_held_out(table, make_catalogue(5), 10)

    first, empty, last = held_out.get_histories()
    assert (first.items_L.tolist(), first.times_L.tolist(), first.weights_L.tolist()) == ([1, 0], [5.0, 7.0], [2, 2])
    assert (len(empty.items_L), empty.time, empty.user) == (0, 9.0, "b")
    assert last.items_L.tolist() == [2]
    assert [items.tolist() for items in held_out.truth] == [[3], [-1, 1], [0]]
    newest = collect_held_out(table, make_catalogue(5), 1)
    assert [history.items_L.tolist() for history in newest.get_histories()] == [[0], [], [2]]
