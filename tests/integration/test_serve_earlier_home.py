"""A home that the commands of commit 3fc2d5f wrote, behind the real server of today: see ``earlier_home``."""

from __future__ import annotations

from pathlib import Path

import pytest

from earlier_home import FILMS, PRODUCTS, SERVES, find_change, list_inputs, unpack_home
from launchyard_serving.session.session import find_free_port
from server_process import running_server, wait_until

pytestmark = pytest.mark.integration


def test_both_products_of_an_earlier_home_are_served_as_then(tmp_path: Path) -> None:
    settings = unpack_home(tmp_path).model_copy(update={"port": find_free_port()})

    with running_server(settings, tmp_path / "output.txt") as server:
        clients = {product: server.client(product) for product in PRODUCTS}
        last = list_inputs(FILMS)[-1:]
        wait_until(lambda: not clients[FILMS].predict(last).outputs[0]["notes"], timeout_s=60, what="the statistics")
        answers = {product: client.explain(list_inputs(product)) for product, client in clients.items()}

    assert [answer.version for answer in answers.values()] == [SERVES] * 2
    assert [find_change(product, SERVES, answer.outputs) for product, answer in answers.items()] == [None, None]
