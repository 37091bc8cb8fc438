"""Output of img2dataset: tar shards, in which KEY.jpg, KEY.txt and KEY.json lie side by side."""

from collections.abc import Iterator
from pathlib import Path

from xfm.core.errors import UserError
from xfm.corpora.images import by_address
from xfm.corpora.source_record import CorpusReader, Piece, SourceRecord
from xfm.data.records import BadRecordError, SampleKind
from xfm.data.sources.shard_index import index_of, index_shard
from xfm.data.sources.shards import LocalShards, ShardSource


class Img2DatasetReader(CorpusReader):
    """Pairs of picture and caption from `00000.tar` and so on, a shard of each."""

    def inputs(self) -> list[Path]:
        if found := sorted(self.source.rglob("*.tar")):
            return found
        told = "give the output folder of img2dataset (--output_format webdataset); `files` are a `folder`"
        raise UserError(f"{self.source} holds no tar files; {told}")

    def pieces(self, listings: Path) -> Iterator[Piece]:
        for path in self.inputs():
            yield Piece(path.relative_to(self.source).as_posix(), 0, 0)

    def records(self, piece: Piece, listings: Path) -> Iterator[SourceRecord]:
        """A tar that is cut, or has two pictures or texts of one key, is a damaged record as a whole."""
        path = self.source / piece.file
        try:
            shards = LocalShards(path.parent, [path.name], index_of([index_shard(path)]))
            source = ShardSource(shards, SampleKind.PAIR)
        except UserError as error:
            yield SourceRecord(piece.file, flaw=str(error).removeprefix(f"{path}: "))
            return
        for number in range(len(source)):
            try:
                record = source.record(number)
            except BadRecordError as error:
                yield SourceRecord(f"{piece.file}/{error.origin.key}", flaw=error.reason)
                continue
            caption, address = (record.annotation.get(name) for name in ("caption", "url"))
            words = " ".join(caption.split()) if isinstance(caption, str) else ""
            known_as, name = by_address(address), f"{piece.file}/{record.origin.key}"
            yield SourceRecord(name, record.picture, (words,) if words else (), known_as=known_as)
