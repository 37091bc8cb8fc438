"""Pictures from the web: only where allowed, from public places, within bounds."""

import ipaddress
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import xfm.data.fetch as module
from tests.data.web_server import PICTURE, serving
from tests.refusals import expect_refusal
from xfm.config.pipelines import UrlRules
from xfm.core.errors import UserError
from xfm.data.fetch import fetch, is_public

HERE = UrlRules(seconds=5, private=True)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as address:
        yield address


def test_a_picture_comes_whole(server: str) -> None:
    assert fetch(f"{server}/picture?size=3", HERE) == PICTURE
    assert fetch(f"{server}/hops", HERE) == PICTURE


@pytest.mark.parametrize(
    ("path", "rules", "words"),
    [
        ("missing", HERE, "the server answers 404"),
        ("loop", HERE, "more than 3 redirects"),
        ("picture", replace(HERE, max_bytes=799), "more than the 799 bytes"),
        ("unannounced", replace(HERE, max_bytes=50_000), "more than the 50000 bytes"),
        ("short", HERE, "ended after 3 of 1000 bytes"),
        ("away?ftp://elsewhere/a", HERE, "by http and https only"),
        ("away?http://user:secret@127.0.0.1/a", HERE, "an address with a password"),
    ],
)
def test_what_goes_wrong_is_said(server: str, path: str, rules: UrlRules, words: str) -> None:
    with expect_refusal(words):
        fetch(f"{server}/{path}", rules)


@pytest.mark.parametrize("path", ["slow", "slow-header"])
def test_a_slow_server_does_not_hold_us(server: str, path: str) -> None:
    """Not even one that sends a byte now and then."""
    began = time.monotonic()
    with expect_refusal("not there within 0.6 seconds"):
        fetch(f"{server}/{path}", replace(HERE, seconds=0.6))
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "255.255.255.255", "224.0.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
        "2002:7f00:1::", "2001:db8::1", "fec0::1", "::7f00:1", "64:ff9b:1::a00:1", "4000::1",
    ],
)  # fmt: skip
def test_places_that_are_not_public(address: str) -> None:
    assert not is_public(address)
    assert all(map(is_public, ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")))


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_does_not_make_it_public(address: ipaddress.IPv4Address) -> None:
    public = is_public(str(address))
    number = int(address)
    assert is_public(str(ipaddress.IPv6Address(0xFFFF << 32 | number))) == public  # mapped
    assert is_public(str(ipaddress.IPv6Address((0x64FF9B << 96) | number))) == public  # NAT64
    assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) | number << 80))) or public  # 6to4


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "0x7f000001"])
def test_the_own_machine_is_refused_by_every_name(server: str, host: str) -> None:
    with pytest.raises(UserError, match=r"not a public address|cannot be read"):
        fetch(f"http://{host}:{server.rpartition(':')[2]}/picture", UrlRules(seconds=2))


def test_a_redirect_to_a_private_place_is_refused(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first server counts as public here; where it leads to is judged by the same rule."""
    port = server.rpartition(":")[2]
    monkeypatch.setattr(module, "is_public", lambda address: address == "127.0.0.1")
    assert fetch(f"{server}/picture", UrlRules(seconds=5)) == PICTURE
    with expect_refusal("leads to what is not a public address"):
        fetch(f"{server}/away?http://127.0.0.2:{port}/picture", UrlRules(seconds=5))


def test_a_name_is_resolved_once_and_every_address_must_be_allowed(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means a public address when it is checked and a private one later gets nowhere."""
    port, asked, real = server.rpartition(":")[2], [], socket.getaddrinfo
    addresses = {"one.test": ["127.0.0.1"], "two.test": ["127.0.0.1", "10.0.0.1"]}

    def resolve(host: str, *arguments: Any, **more: Any) -> list[Any]:
        asked.append(host)
        return [found for name in addresses.get(host, [host]) for found in real(name, *arguments, **more)]

    monkeypatch.setattr(module, "is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)
    with expect_refusal("leads to what is not a public address"):
        fetch(f"http://two.test:{port}/picture", UrlRules(seconds=5))
    assert fetch(f"http://one.test:{port}/picture", UrlRules(seconds=5)) == PICTURE
    assert asked.count("one.test") == 1


BROKEN = ["http://", "http:///a.png", "https://[::1", "http://host:99999/a", "ftp://host/a", "gopher://x"]


@pytest.mark.parametrize("url", [*BROKEN, "http://user:secret@example.org/a"])
def test_broken_addresses_are_refused_and_a_password_is_not_repeated(url: str) -> None:
    with pytest.raises(UserError) as error:
        fetch(url, UrlRules(seconds=1))
    assert "secret" not in str(error.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_certificates_are_checked_for_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose certificate nobody vouches for is refused; once it is trusted, by its name only."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    with serving((certificate, key)) as address:
        named = address.replace("127.0.0.1", "localhost")
        with expect_refusal("certificate verify failed"):
            fetch(f"{named}/picture", HERE)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(f"{named}/picture", HERE) == PICTURE
        with expect_refusal("certificate verify failed"):
            fetch(f"{address}/picture", HERE)
