from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from launchyard_serving.index import build_index


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(build_index(["churn", "review-sentiment"])) as client:
        yield client


def test_the_index_lists_products_as_json(client: TestClient) -> None:
    assert client.get("/").json()["products"] == [
        {"name": "churn", "url": "/churn/"},
        {"name": "review-sentiment", "url": "/review-sentiment/"},
    ]


def test_the_index_is_a_page_for_a_browser(client: TestClient) -> None:
    response = client.get("/", headers={"accept": "text/html,application/xhtml+xml"})

    assert response.headers["content-type"].startswith("text/html")
    assert '<a href="/churn/">churn</a>' in response.text


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_product_is_refused_with_the_known_ones(client: TestClient, method: str) -> None:
    response = client.request(method, "/reviews/predict")

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert "reviews" in response.json()["detail"]
    assert "churn, review-sentiment" in response.json()["detail"]


def test_a_product_that_is_still_starting_says_so(client: TestClient) -> None:
    response = client.post("/churn/predict")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
