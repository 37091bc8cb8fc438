"""Files of encoded pictures: vectors, pictures as the model sees them, and what is known of them."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfm.errors import UserError
from xfm.files import read_bytes, write_data
from xfm.index.offers import EncodedPicture, Offer

_MOST = 64 << 30


class UnreadKnown(UserError):
    """Stands for a picture that was known as it is when the work was planned, and was not read."""


@dataclass(frozen=True)
class EncodedPart:
    """Pictures of a part of a source, in its order.

    Attributes:
        offers: encoded, or why not.
        left_out: fields that cannot be metadata, and in how many rows.
    """

    offers: Sequence[Offer]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        rows, vectors, pixels = list[dict[str, Any]](), list[Any](), list[bytes]()
        for one in self.offers:
            row: dict[str, Any] = {"key": one.key, "source": one.source, "stamp": one.stamp}
            row |= {"metadata": dict(one.metadata), "table": one.table, "replaces": one.replaces}
            if isinstance(one.picture, EncodedPicture):
                row |= {"width": one.picture.width, "height": one.picture.height, "is": one.picture.key.hex()}
                vectors.append(one.picture.vector)
                pixels.append(one.picture.pixels)
            else:
                row["error"] = None if isinstance(one.picture, UnreadKnown) else str(one.picture)
            rows.append(row)
        told = json.dumps({"rows": rows, "left_out": dict(self.left_out)}).encode()
        out = io.BytesIO()
        np.savez(
            out,
            told=np.frombuffer(told, np.uint8),
            vectors=np.stack(vectors) if vectors else np.zeros((0, 0), np.float32),
            pixels=np.frombuffer(b"".join(pixels), np.uint8),
            ends=np.cumsum([len(one) for one in pixels], dtype=np.int64),
        )
        write_data(path, out.getvalue())

    @classmethod
    def read(cls, path: Path) -> "EncodedPart":
        """Read it.

        Raises:
            UserError: it is damaged.
        """
        try:
            with np.load(io.BytesIO(read_bytes(path, _MOST)), allow_pickle=False) as found:
                told = json.loads(found["told"].tobytes())
                pixels, ends, vectors = found["pixels"].tobytes(), found["ends"].tolist(), found["vectors"]
            places = iter(zip([0, *ends[:-1]], ends, vectors, strict=True))
            offers = list[Offer]()
            for row in told["rows"]:
                offer = Offer(row["key"], row["source"], UserError(""), row["stamp"], row["metadata"])
                offer = replace(offer, table=row["table"], replaces=row["replaces"])
                if "error" in row:
                    error = UnreadKnown() if row["error"] is None else UserError(row["error"])
                    offers.append(replace(offer, picture=error))
                    continue
                start, end, vector = next(places)
                key = bytes.fromhex(row["is"])
                encoded = EncodedPicture(pixels[start:end], row["width"], row["height"], key, vector)
                offers.append(replace(offer, picture=encoded))
            return cls(offers, told["left_out"])
        except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
            raise UserError(
                f"{path} is damaged ({error}); remove it and its marker, and run the same command again"
            ) from None
