"""What a server is told. Nothing here imports torch."""

from dataclasses import dataclass, field

from xfm.config.typed import MAX_BATCH, check_limits, check_range, limited


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
        show_from: folders whose pictures are shown when a search finds them, besides those of collections.
        drain_seconds: for which a server that is asked to stop answers what it has taken.
    """

    host: str = "127.0.0.1"
    port: int = limited(8000, 0, 65535)
    max_batch_size: int = limited(32, 1, MAX_BATCH)
    queue_size: int = limited(512, 1, 1_000_000)
    request_timeout: float = limited(30.0, 0.1, 3600)
    header_seconds: float = limited(10.0, 0.1, 3600)
    body_seconds: float = limited(20.0, 0.1, 3600)
    body_bytes: int = limited(32 << 20, 1 << 10)
    held_bytes: int = 128 << 20
    connections: int = limited(512, 1, 100_000)
    max_items: int = limited(256, 1, 100_000)
    characters: int = limited(65_536, 1, 100_000_000)
    pixels: int = limited(256_000_000, 1)
    workers: int = limited(2, 1, 256)
    names: list[str] = field(default_factory=list)
    fetch_from: list[str] = field(default_factory=list)
    show_from: list[str] = field(default_factory=list)
    drain_seconds: float = limited(30.0, 0.1, 3600)

    def __post_init__(self) -> None:
        check_limits(self)
        check_range("held_bytes", self.held_bytes, self.body_bytes)
