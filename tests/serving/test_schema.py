"""What the document of the API says holds for anything that is sent: schemathesis against a real server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("schemathesis")

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.serving.process import Served

ASKING = (
    "/v1/embeddings",
    "/v1/rerank",
    "/v2/rerank",
    "/score",
    "/v1/tasks/{task}",
    "/search",
    "/v1/attention",
)
WATCHING = ("/v1/models", "/health", "/ready", "/metrics")
EXAMPLES = int(os.environ.get("XFM_SCHEMA_EXAMPLES", "112"))
"""Requests to all of the routes together; `make hostile` sends 10,000."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
GROWTH = 256 << 20
"""Bytes that the server may grow by, allocators' habits included."""


@pytest.fixture(scope="module")
def server(model: Path, kept_collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("schema")
    with Served(model, folder, ["--index", str(kept_collection)]) as running:
        running.ask("/v1/embeddings", {"input": ["a red square"] * 32})
        before = running.memory()
        yield running
        assert running.alive()
        assert "Traceback" not in running.said()
        assert running.memory() - before < GROWTH


@pytest.fixture(scope="module")
def document(server: Served):
    return schemathesis.openapi.from_url(f"{server.address}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
@pytest.mark.parametrize("route", ASKING)
def test_answers_are_as_the_document_says(document, route: str, mode: GenerationMode) -> None:
    """Requests of the right shape and of wrong ones; a right shape may be refused for what is in it."""
    cases = document[route]["POST"].as_strategy(mode)
    sent = []

    @settings(max_examples=EXAMPLES // (2 * len(ASKING)), suppress_health_check=[*HealthCheck], database=None)
    @given(cases)
    def send(case) -> None:
        sent.append(case.call_and_validate(checks=CHECKS, timeout=60).status_code)

    send()
    assert sent


@pytest.mark.parametrize("route", WATCHING)
def test_who_watches_is_answered(document, route: str) -> None:
    case = document[route]["GET"].Case()
    assert case.call_and_validate(checks=CHECKS).status_code == 200


def test_every_route_is_in_the_document(server: Served) -> None:
    paths = server.ask("/openapi.json")[1]["paths"]
    assert {*paths} == {*ASKING, *WATCHING, "/search/picture"}
