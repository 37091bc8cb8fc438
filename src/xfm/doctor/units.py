"""Units of work: so many records are examined, and what was found is kept in a file each."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from xfm.config.doctor import DoctorConfig
from xfm.data.tokenizer import Tokenizer
from xfm.doctor.cases import PART, Opening, opened
from xfm.doctor.examiner import Examined, Examiner
from xfm.doctor.findings import Harm
from xfm.doctor.looks import look_at_file
from xfm.doctor.tally import Tally
from xfm.errors import UserError
from xfm.files import read_json_object, write_data

RECORD = np.dtype([("key", "<u8"), ("asked", "<u8"), ("harm", "u1")])
PICTURE = np.dtype([("record", "<u4"), ("digest", "<u8"), ("hash", "<u8")])
SAID = np.dtype([("record", "<u4"), ("digest", "<u8")])
OUT, HURT = 1, 2
"""Bits of `harm`."""


@dataclass(frozen=True)
class ExaminingUnits:
    """Examines `PART` records a unit; see `xfm.engines.base.Units`.

    Attributes:
        opening: how the records are opened.
        config: what counts as wrong.
        tokenizer: its file; None counts words.
        folder: of what was found.
    """

    opening: Opening
    config: DoctorConfig
    tokenizer: Path | None
    folder: Path

    def is_made(self, number: int) -> bool:
        """Whether a unit is done."""
        return self._counts(number).exists()

    def make(self, number: int) -> None:
        """Examine the records of a unit.

        Raises:
            UserError: the folder cannot be written, or the data cannot be read any more.
        """
        cases, tally, found = opened(self.opening), Tally(), list[Examined]()
        examine = Examiner(self.config, self.opening.kind, _tokenizer(self.tokenizer))
        first, stop = number * PART, min(len(cases), (number + 1) * PART)
        cases.expect(first, stop)
        for place in range(first, stop):
            done = examine(cases.case(place), tally)
            tally.read += 1
            tally.find(done.found, place, self.config.seed, self.config.examples)
            found.append(done)
        self._save(number, tally, found)

    def load(self, number: int) -> Tally:
        """The counts of a unit."""
        return Tally.from_plain(read_json_object(self._counts(number)))

    def seen(self, numbers: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of some units what is compared: `RECORD`, `PICTURE` and `SAID`, records counted from the first.

        Raises:
            UserError: it cannot be read.
        """
        parts: tuple[list[np.ndarray], ...] = ([], [], [])
        for number in numbers:
            try:
                data = self._arrays(number).read_bytes()
            except OSError as error:
                raise UserError(f"{self.folder} cannot be read ({error.strerror}); run it again") from error
            for part, one in zip(parts, _unpacked(data), strict=True):
                part.append(one)
        kinds = (RECORD, PICTURE, SAID)
        joined = (np.concatenate([np.empty(0, kind), *part]) for kind, part in zip(kinds, parts, strict=True))
        records, pictures, said = joined
        return records, pictures, said

    def _counts(self, number: int) -> Path:
        return self.folder / f"{number:07d}.json"

    def _arrays(self, number: int) -> Path:
        return self.folder / f"{number:07d}.bin"

    def _save(self, number: int, tally: Tally, found: list[Examined]) -> None:
        first = number * PART
        records = np.array([(one.key, one.asked, _harm(one)) for one in found], RECORD)
        looks = [(first + place, *look) for place, one in enumerate(found) for look in one.looks]
        said = [(first + place, text) for place, one in enumerate(found) for text in one.said]
        arrays = (records, np.array(looks, PICTURE), np.array(said, SAID))
        lengths = np.array([len(one) for one in arrays], "<u8")
        data = b"".join([lengths.tobytes(), *(one.tobytes() for one in arrays)])
        write_data(self._arrays(number), data, lasting=False)
        counts = json.dumps(tally.plain(self.config.examples)).encode()
        write_data(self._counts(number), counts, lasting=False)


def _unpacked(data: bytes) -> list[np.ndarray]:
    lengths, place, found = np.frombuffer(data, "<u8", 3), 24, []
    for kind, length in zip((RECORD, PICTURE, SAID), lengths.tolist(), strict=True):
        found.append(np.frombuffer(data, kind, length, place))
        place += kind.itemsize * length
    return found


def _harm(one: Examined) -> int:
    return OUT * one.has(Harm.LEFT_OUT) | HURT * one.has(Harm.HURTS)


def forget() -> None:
    """Let go of what this process has opened and looked at: the files may be others the next time."""
    for known in (opened, look_at_file, _tokenizer):
        known.cache_clear()


@lru_cache(maxsize=1)
def _tokenizer(path: Path | None) -> Tokenizer | None:
    return None if path is None else Tokenizer.load(path)
