"""What is fuzzed: a file in a folder of valid ones, how it is changed, and what reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.fuzz.changes import Change


class Family(StrEnum):
    """Kinds of readers."""

    SHARDS = "shards"
    TABLES = "tables"
    ANNOTATIONS = "annotations"
    CONFIGURATIONS = "configurations"


@dataclass(frozen=True)
class Target:
    """A reader, and a file that it reads.

    Attributes:
        family: of the reader.
        name: of both.
        prepare: writes valid files into a folder that is there.
        file: the one that is changed, below the folder.
        change: of its bytes.
        read: reads all that is in the folder; ends, or raises UserError.
        weight: inputs it gets in proportion to others of its family.
    """

    family: Family
    name: str
    prepare: Callable[[Path], object]
    file: str
    change: Change
    read: Callable[[Path], object]
    weight: float = 1.0
