"""What a collection is: `index.json` in its folder."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError
from xfm.core.files import read_json_object, write_text
from xfm.search.filters import Kind

FILE, FORMAT = "index.json", 2
_SERVER = "address", "table", "id"
HIDDEN = ".xfm-index"
"""The collection of a folder of pictures, in that folder."""


@dataclass(frozen=True)
class AboutIndex:
    """What a collection is.

    Attributes:
        model: folder or name of the model that made the vectors.
        probe: the vector of a fixed text, by which the model is known again.
        address: of the PostgreSQL server, without a password; None where LanceDB holds the vectors.
        table: in that server.
        fields: of the metadata, and what each holds.
        id: by which its table says whose it is; empty for a collection that is older than ids.
    """

    model: str
    probe: Sequence[float]
    address: str | None = None
    table: str = ""
    fields: Mapping[str, Kind] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def width(self) -> int:
        """E, of the vectors."""
        return len(self.probe)

    def write(self, folder: Path) -> None:
        """Write it into the folder, whole or not at all."""
        told: dict[str, Any] = {"format": FORMAT, "model": self.model}
        told["store"] = {name: getattr(self, name) for name in _SERVER} if self.address else "lancedb"
        told |= {"fields": {name: kind.value for name, kind in self.fields.items()}}
        told["probe"] = [round(float(value), 6) for value in self.probe]
        write_text(folder / FILE, json.dumps(told, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "AboutIndex":
        """Read it.

        Raises:
            UserError: the folder holds no collection, or one of another format.
        """
        if not (folder / FILE).exists():
            raise UserError(
                f"{folder} holds no collection: make one with `xfm index build --images ... --out {folder}`"
            )
        told = read_json_object(folder / FILE)
        if told.get("format") != FORMAT:
            raise UserError(
                f"{folder / FILE} is of format {told.get('format')}, not {FORMAT}: build it again"
            )
        try:
            store = told["store"]
            address, table, own = (
                [store.get(name, "") for name in _SERVER] if isinstance(store, dict) else [None, "", ""]
            )
            fields = {name: Kind(kind) for name, kind in told["fields"].items()}
            texts = [told["model"], table, own, *([address] if isinstance(store, dict) else [])]
            if not all(isinstance(one, str) for one in texts):
                raise TypeError("model, address, table and id are texts")
            return cls(told["model"], [float(one) for one in told["probe"]], address, table, fields, own)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{folder / FILE} is damaged ({error!r}): build the collection again") from error
