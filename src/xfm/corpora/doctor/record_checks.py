"""The examination of one record."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from xfm.config.doctor import DoctorConfig
from xfm.core.errors import excerpt
from xfm.corpora.doctor.checks import (
    ImageCheck,
    box_flaw,
    check_image,
    check_image_file,
    in_pixels,
    share,
    short_digest,
    text_flaws,
)
from xfm.corpora.doctor.findings import Finding, Issue, Severity, Statistics
from xfm.corpora.doctor.records import DataRecord
from xfm.data.records import BadRecordError, SampleKind, is_text, to_sample
from xfm.data.tokenizer import Tokenizer

_LONGEST, _LABEL = 1 << 20, 200
"""Tokens that are counted of a text, and characters by which labels are known."""


@dataclass
class CheckedRecord:
    """Issues by finding, and keys for comparison with other records.

    `key` identifies the record, `asked` its input without the label (0: none); `looks` are digest and
    perceptual hash of pictures, `said` digests of texts; all of 64 bits.
    """

    found: dict[Finding, list[Issue]] = field(default_factory=dict)
    key: int = 0
    asked: int = 0
    looks: list[tuple[int, int]] = field(default_factory=list)
    said: list[int] = field(default_factory=list)

    def add(self, one: Issue) -> None:
        """Add an issue."""
        self.found.setdefault(one.finding, []).append(one)

    def has(self, harm: Severity) -> bool:
        """Whether there is an issue of this severity."""
        return any(finding.harm is harm for finding in self.found)


class RecordChecker:
    """Checks records of one kind (None: rows of a table); without tokenizer, texts are measured in words."""

    def __init__(self, config: DoctorConfig, kind: SampleKind | None, tokenizer: Tokenizer | None) -> None:
        self._config, self._kind, self._tokenizer = config, kind, tokenizer

    def __call__(self, case: DataRecord, tally: Statistics) -> CheckedRecord:
        """Check a record, and count its sizes and lengths."""
        done = CheckedRecord()
        for one in case.found:
            done.add(one)
        looks = [
            check_image_file(one, self._config) if isinstance(one, Path) else check_image(one, self._config)
            for one in case.pictures
        ]
        for look in looks:
            for one in look.found:
                done.add(one)
            if look.width:
                tally.measure("width in pixels", look.width)
                tally.measure("height in pixels", look.height)
            if look.likeness is not None and self._config.near_duplicates:
                done.looks.append((look.digest, look.likeness))
        self._texts(case, done, tally)
        if looks and looks[0].width:
            self._boxes(case, looks[0], done, tally)
        tally.labels.update(excerpt(label, _LABEL) for label in case.labels)
        self._training(case, looks, done)
        self._keys(case, looks, done)
        return done

    def _texts(self, case: DataRecord, done: CheckedRecord, tally: Statistics) -> None:
        for name, text, caption in case.texts:
            for one in text_flaws(text, caption, self._config.max_words):
                done.add(one._replace(detail=f"{name}: {one.detail}"))
            if not is_text(text):
                continue
            unit = "words" if self._tokenizer is None else "tokens"
            tally.measure(f"{unit} of a {name}", self._length(text))
            if name != "phrase" and self._kind is not None:
                done.said.append(short_digest(text.strip().encode()))
        for name in ("caption", "phrase") if self._kind is not None else ():
            if own := sum(told.name == name for told in case.texts):
                tally.measure(f"{name}s of a picture", own)

    def _length(self, text: str) -> int:
        if self._tokenizer is None:
            return len(text.split())
        return max(0, self._tokenizer.count([text], _LONGEST) - 2)

    def _boxes(self, case: DataRecord, look: ImageCheck, done: CheckedRecord, tally: Statistics) -> None:
        size = look.width, look.height
        for phrase, told in case.boxes:
            box = told
            if self._kind is None:
                box = in_pixels(told, size, self._config.box_format, self._config.box_unit)
            if flaw := box_flaw(box, size):
                whose = f"{excerpt(str(phrase))}: " if phrase else ""
                done.add(flaw._replace(detail=whose + flaw.detail))
            if (covered := share(box, size)) is not None:
                tally.measure("percent of the picture in a box", covered)

    def _training(self, case: DataRecord, looks: list[ImageCheck], done: CheckedRecord) -> None:
        """Apply training's own rule for records; pixels are not decoded again."""
        if case.record is None or self._kind is None or done.has(Severity.LEFT_OUT):
            return
        decoded = None
        if looks:
            decoded = torch.empty(1, dtype=torch.uint8).expand(3, looks[0].height, looks[0].width)
        try:
            to_sample(replace(case.record, decoded=decoded), self._kind)
        except BadRecordError as error:
            done.add(Issue(Finding.RECORD, error.reason))

    def _keys(self, case: DataRecord, looks: list[ImageCheck], done: CheckedRecord) -> None:
        if any(not look.digest for look in looks) or case.found:
            return
        if self._kind is not None and looks:
            done.key = looks[0].digest
            return
        told = [[one.name, one.text] for one in case.texts]
        parts = [[look.digest for look in looks], told, [one.box for one in case.boxes]]
        done.key = _key([*parts, case.labels])
        done.asked = _key(parts) if case.labels else 0


def _key(parts: object) -> int:
    plain = json.dumps(parts, ensure_ascii=True, default=str).encode()
    return int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest(), "little")
