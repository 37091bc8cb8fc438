"""What a server is told. Nothing here imports torch."""

from dataclasses import dataclass, field

from xfm.config.ranges import MAX_BATCH, check_range


@dataclass(frozen=True)
class ServeConfig:
    """The HTTP API.

    Attributes:
        host: address that is listened at; the default takes requests of this machine only.
        port: of it; 0 takes a free one.
        max_batch_size: most items that are computed together.
        queue_size: most items that wait; what is beyond is refused with status 429.
        request_timeout: seconds for one request, all included, after which it is given up with status 504.
        header_seconds: in which the head of a request must have arrived, else the connection is closed.
        body_seconds: in which a request must have arrived.
        body_bytes: largest request.
        held_bytes: of all requests that are under way; what is beyond is refused with status 429.
        connections: most connections; others are closed at once.
        max_items: of a request.
        characters: longest text of a request.
        pixels: of all pictures of a request together, as their headers say.
        workers: threads that decode pictures.
        names: that it has besides localhost and addresses; by others it is not asked where it wants no key.
        fetch_from: hosts from which pictures may be fetched by address, redirects included; none if empty.
        show_from: folders below which files of pictures that a search found are shown, besides those of the
            collections; other pictures are shown as the model sees them.
        drain_seconds: for which a server that is asked to stop answers what it has taken.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_batch_size: int = 32
    queue_size: int = 512
    request_timeout: float = 30.0
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    body_bytes: int = 32 << 20
    held_bytes: int = 128 << 20
    connections: int = 512
    max_items: int = 256
    characters: int = 65_536
    pixels: int = 256_000_000
    workers: int = 2
    names: list[str] = field(default_factory=list)
    fetch_from: list[str] = field(default_factory=list)
    show_from: list[str] = field(default_factory=list)
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        check_range("port", self.port, 0, 65535)
        check_range("max_batch_size", self.max_batch_size, 1, MAX_BATCH)
        check_range("queue_size", self.queue_size, 1, 1_000_000)
        check_range("max_items", self.max_items, 1, 100_000)
        check_range("workers", self.workers, 1, 256)
        check_range("connections", self.connections, 1, 100_000)
        check_range("characters", self.characters, 1, 100_000_000)
        check_range("pixels", self.pixels, 1)
        check_range("body_bytes", self.body_bytes, 1 << 10)
        check_range("held_bytes", self.held_bytes, self.body_bytes)
        for name in ("request_timeout", "header_seconds", "body_seconds", "drain_seconds"):
            check_range(name, getattr(self, name), 0.1, 3600)
