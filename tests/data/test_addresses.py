"""Pictures that tables name by address: fetched from a real server, once, and only where that is allowed."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import xfm
from tests.data.tables.written import PICTURES, png, read
from tests.data.web_server import Server, served
from tests.refusals import expect_refusal
from xfm.config.finetune import FinetuneConfig
from xfm.config.pipelines import UrlRules
from xfm.config.task_spec import Field, FieldKind
from xfm.data.fetch import AddressBook
from xfm.data.images import UnreadablePicture
from xfm.data.tables import ColumnMap, TableRow, read_table
from xfm.finetuning.finished import FinetuneResult

FIELDS = (Field("image", "a picture", FieldKind.PICTURE), Field("label", "a class"))
PAIRS = (Field("images", "two", FieldKind.TWO_PICTURES, parts=("left", "right")),)


class Photos(Server):
    """Pictures by number; counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.broken: set[str] = {"/gone.png"}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Photos

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        gone = self.path in self.server.broken
        away = self.path == "/away.png"
        body = b"<html>" if self.path == "/page" else png(len(self.path))
        self.send_response(404 if gone else 302 if away else 200)
        if away:
            self.send_header("Location", "/gone.png")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def photos() -> Iterator[Photos]:
    with served(Photos()) as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XFM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


HERE = UrlRules(seconds=5, private=True, hosts=("127.0.0.1",))


def rows_of(path: Path, fields: tuple[Field, ...] = FIELDS, rules: UrlRules = HERE) -> list[TableRow]:
    return read_table(path, fields, ColumnMap(), path.parent / "store", addresses=AddressBook.of(rules, path))


def test_each_address_is_fetched_once(photos: Photos, tmp_path: Path, cache: Path) -> None:
    names = [f"{photos.address}/{n}.png" for n in ("a", "bb", "a", "ccc")]
    (tmp_path / "a.csv").write_text("image,label\n" + "".join(f"{name},x\n" for name in names))
    paths = [row.path("image") for row in rows_of(tmp_path / "a.csv")]
    assert [path.read_bytes() for path in paths] == [png(6), png(7), png(6), png(8)]
    assert sorted(photos.asked) == ["/a.png", "/bb.png", "/ccc.png"]
    assert all(path.is_relative_to(cache) and path.suffix == ".png" for path in paths)
    assert [row.path("image") for row in rows_of(tmp_path / "a.csv")] == paths
    assert len(photos.asked) == 3
    assert not [*cache.rglob(".*")]
    pairs = [{"images": names[:2]}, {"left": names[0], "right": names[3]}, {"images": json.dumps(names[1:3])}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    found = [
        [one.path("images").read_bytes() for one in row.two(PAIRS[0])]
        for row in rows_of(tmp_path / "a.jsonl", PAIRS)
    ]
    assert found == [[png(6), png(7)], [png(6), png(8)], [png(7), png(6)]]


@pytest.mark.parametrize(
    ("name", "rules", "words"),
    [
        ("gone.png", HERE, "the server answers 404"),
        ("away.png", HERE, "/away.png: .*/gone.png: the server answers 404"),
        ("page", HERE, "not a JPEG, PNG, WebP"),
        (
            "a.png",
            UrlRules(hosts=("example.org",), private=True),
            "none of the hosts that are asked: example.org",
        ),
        ("a.png", UrlRules(), "not a public address"),
    ],
)
def test_what_cannot_be_fetched_is_left_to_the_rule_of_pictures(
    photos: Photos, tmp_path: Path, name: str, rules: UrlRules, words: str
) -> None:
    (tmp_path / "a.csv").write_text(f"image,label\n{photos.address}/{name},x\n")
    (row,) = rows_of(tmp_path / "a.csv", rules=rules)
    with pytest.raises(UnreadablePicture, match=f"a.csv:2: .*{words}"):
        row.path("image")
    assert rules is HERE or not photos.asked


def test_without_a_word_nothing_is_fetched(photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"image,label\n{photos.address}/a.png,x\n")
    (row,) = read(tmp_path / "a.csv", PICTURES)
    with expect_refusal("a.csv:2", '"image"', photos.address, "--allow-urls"):
        row.path("image")
    assert not photos.asked


@pytest.mark.parametrize("host", ["http://a.org", "", "*a.org"])
def test_what_is_no_host_is_refused(host: object) -> None:
    with expect_refusal("--allow-urls", "no host"):
        UrlRules.of([host])  # pyright: ignore[reportArgumentType]
    assert UrlRules.of(False) is UrlRules.of(None) is UrlRules.of([]) is None


def test_a_model_learns_from_addresses(photos: Photos, model: Path, tmp_path: Path) -> None:
    names = [f"{photos.address}/{'x' * n}.png" for n in range(1, 17)]
    names[5] = f"{photos.address}/gone.png"
    rows = "".join(f"{name},{'ab'[n % 2]}\n" for n, name in enumerate(names))
    (tmp_path / "a.csv").write_text("image,label\n" + rows)
    config = FinetuneConfig(steps=2, batch_size=4, device="cpu", baseline=False)

    def learn(out: str) -> FinetuneResult:
        given = ("image-classification", model, tmp_path / "a.csv", tmp_path / out)
        return xfm.finetune(*given, allow_urls=HERE, config=config, progress=False)

    done = learn("run")
    assert done.left_out.startswith(f"1 of 16 rows was left out: {tmp_path}/a.csv:7")
    assert "the server answers 404" in done.left_out
    assert "--allow-urls 127.0.0.1" in done.next_command
    asked = len(photos.asked)
    learn("again")
    assert photos.asked[asked:] == ["/gone.png"]  # what failed is tried again, nothing else
    scored = xfm.score(done.model, tmp_path / "a.csv", allow_urls=HERE, progress=False, device="cpu")
    assert len(scored.predictions) == 15
    assert photos.asked[asked:] == ["/gone.png"] * 2
