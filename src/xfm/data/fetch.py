"""Images from the web, for those who allow it: http(s) only, bounded in bytes and time, no private addresses.
A name is resolved once and every address checked, redirects too, so that it cannot mean another machine by
the time of the connection. No proxies: behind one, nothing could be checked."""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from xfm.config.pipelines import UrlRules
from xfm.core.errors import UserError, explained

_SIGNS = "%/?:@!$&'()*+,;=~[]"  # stand as they are in an address; other letters are escaped
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNICAST = ipaddress.ip_network("2000::/3")  # the others are local or not given out
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # the last 32 bits are an IPv4 address


def fetch(url: str, rules: UrlRules) -> bytes:
    """The bytes at a URL; raises UserError where `rules` forbid it or it cannot be read."""
    deadline = time.monotonic() + rules.seconds
    where = url
    for _ in range(rules.redirects + 1):
        found = _get(where, rules, deadline)
        if isinstance(found, bytes):
            return found
        where = found
    raise UserError(f"{url}: more than {rules.redirects} redirects; give the picture's own address")


def _get(url: str, rules: UrlRules, deadline: float) -> bytes | str:
    parts = check_address(url, rules)
    assert parts.hostname is not None
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        places = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        found = [str(place[0]) for *_, place in places]
        if not rules.private and not all(map(is_public, found)):  # which, a client may not know
            told = "download the file yourself, or allow it by UrlRules(private=True)"
            raise UserError(f"{url} leads to what is not a public address; {told}")
        connection = _PinnedConnection(parts, found[0], port, deadline)
        try:
            path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_SIGNS)
            connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "xfm"})
            answer = connection.getresponse()
            if answer.status in _REDIRECTS:
                return urljoin(url, answer.headers.get("Location", ""))
            if answer.status != 200:
                raise UserError(f"{url}: the server answers {answer.status} {answer.reason}; check it")
            data = answer.read(rules.max_bytes + 1) if (answer.length or 0) <= rules.max_bytes else None
            if data is None or len(data) > rules.max_bytes:
                raise UserError(f"{url} has more than the {rules.max_bytes} bytes allowed; shrink it")
            if time.monotonic() >= deadline:
                raise TimeoutError
            if answer.length:
                claimed = len(data) + answer.length
                raise UserError(
                    f"{url}: the connection ended after {len(data)} of {claimed} bytes; try again"
                )
            return data
        finally:
            connection.finish()
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
            raise UserError(f"{url}: not there within {rules.seconds:g} seconds; try later") from None
        reason = str(getattr(error, "strerror", None) or error) or type(error).__name__
        raise UserError(f"{url} cannot be read ({reason}); check the address") from error


def check_address(url: str, rules: UrlRules) -> SplitResult:
    """The parts of a URL that may be fetched, its host unresolved; raises UserError otherwise."""
    with explained(f"{url} is not an address", "check it", ValueError):
        parts = urlsplit(url)
        _ = parts.port  # out of range, it raises
    if parts.scheme not in ("http", "https"):
        raise UserError(f"{url}: pictures are fetched by http and https only; download the file yourself")
    if not parts.hostname:
        raise UserError(f"{url} names no server; check the address")
    if parts.username is not None or parts.password is not None:
        raise UserError(f"{parts.hostname}: an address with a password is not fetched; download it yourself")
    if not rules.asks(parts.hostname):
        raise UserError(f"{parts.hostname} is none of the hosts that are asked: {', '.join(rules.hosts)}")
    return parts


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where it wraps another address."""
    place = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(place, ipaddress.IPv6Address):
        inner = [place.ipv4_mapped, place.sixtofour, *(place.teredo or ())]
        if place in _NAT64:
            inner.append(ipaddress.IPv4Address(int(place) & 0xFFFFFFFF))
        if not all(one is None or is_public(str(one)) for one in inner):
            return False
        if place.ipv4_mapped is not None or place in _NAT64:
            return True
        if place not in _UNICAST:
            return False
    return place.is_global and not place.is_multicast


class _PinnedConnection(http.client.HTTPConnection):
    """A connection to one IP address, whatever the name resolves to now; it ends at the deadline. A socket's
    own timeout begins again with every byte, so that a slow server could hold it for ever."""

    def __init__(self, parts: SplitResult, address: str, port: int, deadline: float) -> None:
        super().__init__(parts.hostname or "", port)
        self._address, self._deadline, self._secure = address, deadline, parts.scheme == "https"
        self._alarm = threading.Timer(max(0.0, deadline - time.monotonic()), self._give_up)
        self._alarm.daemon = True
        self._live: socket.socket | None = None

    def connect(self) -> None:
        left = max(0.001, self._deadline - time.monotonic())
        self.sock = self._live = socket.create_connection((self._address, self.port), timeout=left)
        self._alarm.start()
        if self._secure:
            context = ssl.create_default_context()
            secure = context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = self._live = secure
            secure.do_handshake()

    def finish(self) -> None:
        """Close the connection; `close` alone is called as soon as an answer begins, to be read on."""
        self._alarm.cancel()
        self.close()

    def _give_up(self) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._live, socket.SHUT_RDWR)  # below TLS: a reader sees the end
