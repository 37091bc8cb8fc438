"""A small client of the API, typed, with nothing but the standard library.

Example:
    client = Client("http://127.0.0.1:8000")
    vectors = client.embed(["a cat left of a dog", Path("photo.jpg")])
"""

import base64
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.data.picture_formats import format_of
from xfm.errors import UserError, excerpt, printable

Item = str | bytes | Path
"""A text, the bytes of a picture, or the path of one."""


class Client:
    """Asks a server of `xfm serve`.

    Args:
        address: of the server.
        key: that it asks for; None sends none.
        model: name of the model to ask; None leaves the choice to the server.
        seconds: for each request.
    """

    def __init__(
        self, address: str, key: str | None = None, model: str | None = None, seconds: float = 60.0
    ) -> None:
        self._address, self._key, self._model, self._seconds = address.rstrip("/"), key, model, seconds

    def embed(self, inputs: Sequence[Item]) -> NDArray[np.float32]:
        """[N, E] float32 unit vectors of texts and pictures."""
        told = {"input": [shown(one) for one in inputs], "encoding_format": "base64"}
        data = self._post("/v1/embeddings", told)["data"]
        return np.stack([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in data])

    def rerank(
        self, query: Item, documents: Sequence[Item], top_n: int | None = None
    ) -> list[tuple[int, float]]:
        """Places of documents and how well they fit, from 0 to 1, the best first."""
        told: dict[str, Any] = {"query": shown(query), "documents": [shown(one) for one in documents]}
        told |= {"top_n": top_n} if top_n else {}
        results = self._post("/v2/rerank", told)["results"]
        return [(one["index"], one["relevance_score"]) for one in results]

    def ask(self, task: str, inputs: Sequence[Mapping[str, Any]], **options: Any) -> list[Any]:
        """Answers of a task; pictures among the fields are paths or bytes."""
        given = [{name: _field(value) for name, value in one.items()} for one in inputs]
        return self._post(f"/v1/tasks/{task}", {"input": given, "options": options})["answers"]

    def search(self, text: str | None = None, image: Item | None = None, **options: Any) -> dict[str, Any]:
        """What a collection holds of a text, a picture, or both; see `SearchRequest` for the options."""
        told = {"text": text, "image": None if image is None else shown(image), **options}
        return self._post("/search", told)

    def _post(self, route: str, told: dict[str, Any]) -> Any:
        """The answer to a request.

        Raises:
            UserError: the server refuses (with its reason), or cannot be reached.
        """
        told = told | ({"model": self._model} if self._model and route != "/search" else {})
        headers = {"content-type": "application/json"}
        headers |= {"authorization": f"Bearer {self._key}"} if self._key else {}
        request = urllib.request.Request(self._address + route, json.dumps(told).encode(), headers)
        try:
            with _OPENER.open(request, timeout=self._seconds) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise UserError(f"{self._address}{route}: {_reason(error)}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UserError(f"{self._address} cannot be asked ({error}); check that it runs") from error


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key would go to whoever is named, and the request would lose its body."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        """See urllib: the redirect is an error."""


_OPENER = urllib.request.build_opener(_Straight)


def _reason(error: urllib.error.HTTPError) -> str:
    if where := error.headers.get("location"):
        return f"status {error.code}, it is at {printable(excerpt(where, 200))}: give that address"
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}"


def shown(item: Item) -> str:
    """A text as it is, a picture as a data URL."""
    if isinstance(item, str):
        return item
    data = item.read_bytes() if isinstance(item, Path) else item
    kind = (format_of(data) or ".png").removeprefix(".")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _field(value: Any) -> Any:
    if isinstance(value, bytes | Path):
        return shown(value)
    return [_field(one) for one in value] if isinstance(value, list | tuple) else value
