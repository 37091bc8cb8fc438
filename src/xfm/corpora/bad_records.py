"""How many damaged records a corpus may have.

`--max-bad` of them may be left out. Where nobody said how many: half of them, and from a thousand on that
ends the work as soon as it shows, since then it is the path that is wrong, or the download.
"""

from xfm.corpora.judging import BAD
from xfm.corpora.shard_units import ShardMark
from xfm.errors import UserError

_ENOUGH = 1000


class BadRecords:
    """Counts damaged records as shards are made.

    Args:
        most: that may be left out; None for the rule above.

    Raises:
        UserError: `most` is negative.
    """

    def __init__(self, most: int | None) -> None:
        if most is not None and most < 0:
            raise UserError(f"--max-bad is {most}: choose 0 or more")
        self.most, self.bad, self.read = most, 0, 0
        self._first: dict[str, str] | None = None

    def add(self, mark: ShardMark) -> None:
        """Take in a shard.

        Raises:
            UserError: these are too many; names the first.
        """
        self.read += mark.read
        self.bad += mark.left_out[BAD]
        self._first = self._first or next(iter(mark.bad), None)
        if self.most is not None and self.bad > self.most:
            raise self._refusal(f"--max-bad leaves out {self.most} at most")
        if self.most is None and self.read > _ENOUGH:
            self.check_share()

    def check_share(self) -> None:
        """Refuse when more than half is damaged and nobody asked for that.

        Raises:
            UserError: it is.
        """
        if self.most is None and 2 * self.bad > self.read:
            raise self._refusal("that is more than half")

    def _refusal(self, rule: str) -> UserError:
        first = self._first or {"place": "", "error": "?"}
        return UserError(
            f"{first['place']}: {first['error']}; {self.bad:,} of {self.read:,} records are damaged, and "
            f"{rule}: check --from and the download, or give a larger --max-bad"
        )
