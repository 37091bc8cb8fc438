"""Requests as a client sends them."""

import base64
import http.client
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from xfm.core.errors import UserError
from xfm.data.image_formats import format_of

Item = str | bytes | Path


def shown(item: Item) -> str:
    if isinstance(item, str):
        return item
    data = item.read_bytes() if isinstance(item, Path) else item
    kind = (format_of(data) or ".png").removeprefix(".")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def ask(address: str, route: str, told: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
    """Status, body (JSON read, else bytes) and headers of an answer; bytes are sent as they are."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    body = told if isinstance(told, bytes) else None if told is None else json.dumps(told).encode()
    method = "GET" if body is None else "POST"
    connection.request(method, route, body, {"content-type": "application/json", **headers})
    answer = connection.getresponse()
    data, named = answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    plain = named.get("content-type", "").startswith("application/json")
    return answer.status, json.loads(data) if plain else data, named


class Client:
    def __init__(self, address: str, key: str | None = None) -> None:
        self.address, self.key = address, key

    def embed(self, inputs: Sequence[Item]) -> NDArray[np.float32]:
        told = {"input": [shown(one) for one in inputs], "encoding_format": "base64"}
        data = self._post("/v1/embeddings", told)["data"]
        return np.stack([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in data])

    def rerank(self, query: Item, documents: Sequence[Item], **more: Any) -> list[tuple[int, float]]:
        told = {"query": shown(query), "documents": [shown(one) for one in documents], **more}
        return [(one["index"], one["relevance_score"]) for one in self._post("/v2/rerank", told)["results"]]

    def ask(self, task: str, inputs: Sequence[Mapping[str, Any]], **options: Any) -> list[Any]:
        given = [{name: _field(value) for name, value in one.items()} for one in inputs]
        return self._post(f"/v1/tasks/{task}", {"input": given, "options": options})["answers"]

    def search(self, text: str | None = None, image: Item | None = None, **options: Any) -> dict[str, Any]:
        return self._post("/search", {"text": text, "image": image and shown(image), **options})

    def _post(self, route: str, told: dict[str, Any]) -> Any:
        status, found, _ = ask(self.address, route, told, authorization=f"Bearer {self.key}")
        if status != 200:
            raise UserError(found["error"]["message"])
        return found


def _field(value: Any) -> Any:
    if isinstance(value, bytes | Path):
        return shown(value)
    return [_field(one) for one in value] if isinstance(value, list | tuple) else value
