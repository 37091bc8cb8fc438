"""Readers of the sources of pictures: each yields pictures with captions, and says why others are left out.

Packages say what their pictures show in different ways: in the metadata of every drawing (Open Clip Art), by
the code points of emoji (Iconify), in catalogues (Sweet Home 3D), or only by the names of files and folders.
`SOURCES` has a reader for each. It takes the folders of the unpacked packages by the packages' names, and
yields a `Found`, or a sentence for a picture that is left out. `captions.csv` has the captions of small
sources, most of them written by hand after looking, since their names are poetic. The tables choose what
shows a thing, and translate titles.
"""

import csv
import io
import json
import re
import struct
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image


@dataclass(frozen=True)
class Found:
    """A picture as a source has it."""

    name: str  # in the source, without a suffix
    data: bytes  # of a PNG, JPEG, WebP or SVG, which may be gzipped
    caption: str  # empty if its name has no words
    keywords: list[str]
    artist: str
    licence: str
    kind: str  # drawing, icon, emoji, flag, photo or background


Folders = dict[str, Path]
Reader = Callable[[Folders], Iterator[Found | str]]


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split(": ") for pair in text.replace("\n", " ").split("; "))


# Titles of whole collections: there the file's name says what the picture shows.
_COLLECTION = re.compile(
    r"flat icon|svg theme|clipart|iconset|theme$|map symbols|aiga|road signs|various|etiquette|su?i?bmission"
    r"|australian maps|^people$|^advertising$|^draw(ing)?$|^untitled|^new |^test|rollandin|^unknown|^image$"
    r"|^icon$"
)
_UNSUITABLE = re.compile(
    r"politic|nazi|swastika|hitler|stalin|lenin\b|communis|marx|fascis|terroris|saddam|\bbush\b|che guevara"
    r"|abortion|nud[ei]\b|naked|\bsex|erotic|pantyhose|bikini|lingerie|topless|condom|breast|\bpin ?up"
)
_TEXT = re.compile(
    r"\btext\b|lettering|typograph|\bfonts?\b|calligraph|alphabet|\bletters?\b|\bwords?\b|\bslogan"
)
_FILLERS = re.compile(r"\b(rpg map elements|body part|clip ?art|svg|aiga|0 symbol.*)")
_SYMBOLS = {"icons", "signs_and_symbols", "buttons", "shapes"}
_RENAMED = {"gramastar": "many pointed star", "cavallo": "horse", "sallite": "satellite", "dino": "dinosaur"}

# Titles of two artists in Italian and French.
_ENGLISH = _pairs("""\
abitazione villa con giardino: house with a garden; acquila: eagle; aquila frontale: eagle; aglio: garlic; al
bar: people at a bar; albero: tree; analisi del sangue: blood test; anelli: rings; antilope: antelope;
appunti: notes; asso carte: ace card; attenzione: warning sign; attenzione rotondo: round warning sign;
barattolo di pillole: jar of pills; bicicletta cycle: bicycle; binocolo bn: binoculars; bobi: dog; borsa
estiva: summer bag; bottiglia di vino pregiato: bottle of wine; bussiness woman donna in carriera: business
woman; bussola: compass; calamita: magnet; calcolatrice: calculator; camicia in seta: silk shirt; canguro:
kangaroo; cani e gatti cat and dog: cats and dogs; carta: paper; cartella dossier directory: folder; casa dei
sogni: house; casa in campagna: house in the country; casa plurifamigliare: apartment house; casa verde: green
house; casco con microfono: headset; cassa d'epoca: old chest; cassa negozio: cash register; cassette video:
video cassettes; cavalletta: grasshopper; cestino pieno: full waste basket; cestino vuoto: empty waste basket;
cesto: basket; chiave: key; cigni bianchi e neri: white and black swans; cigno: swan; cigno di notte nella
palude: swan at night; cigno di spalle: swan from behind; cinepresa: film camera; clessidra: hourglass; clips:
paper clips; coccinella: ladybird; coccinellona: ladybird; come si dispongono le posate: table setting with
cutlery; coniglio: rabbit; cubo rosso: red cube; cubo giallo: yellow cube; cubo verde: green cube;
decorazione: decoration; demolizione costruzione: demolition of a building; dente: tooth; diagramma: diagram;
dinosauri: dinosaurs; dinosauro: dinosaur; donna incinta: pregnant woman; elefante: elephant; esperimento
chimico: chemistry experiment; farfalla contorno: outline of a butterfly; farfalla semplice: butterfly;
farfalla stilizzata: butterfly; fata fatina: fairy; ferro da stiro: iron for clothes; finestra: window; foglio
e mondo: sheet of paper and globe; forchettoni da grigliata: barbecue forks; formichina: ant; formicona: ant;
fuoco da campeggio: camp fire; gabbiano: seagull; gallo di profilo: rooster; gattina cat: cat; gatto cat: cat;
gatto nero: black cat; gelato all'italiana: ice cream; griglia: grill; gufo civetta: owl; istogramma: bar
chart; la prugna: plum; lampada di aladino aladin: oil lamp; lana: wool; lattine di birra: cans of beer; le
mie tigri preferite: tigers; lente meno: magnifying glass with minus; lente normale: magnifying glass; leone:
lion; libro di ricette di cucina italiana w italia: cook book; livella: spirit level; lucchetto grigio: grey
padlock; lucchetto ottone: brass padlock; lucertola: lizard; lucertola arrotolata: curled lizard; lucertola
maya: lizard; lucertolona: lizard; lucertolone: lizard; lumaca: snail; lumaca turbo: snail; macchina caffe:
coffee machine; macchina fotografica digitale: digital camera; mantide religiosa: praying mantis; mazzo di
fiori: bunch of flowers; medicina dottore: doctor; microscopio: microscope; mix cucina frullatore: kitchen
mixer; mobile: piece of furniture; mondo: globe; moschito: mosquito; moschito stecchito: dead mosquito;
mostriciattolo: little monster; motivo geometrico: geometric pattern; noi due insieme brindisi calici: two
glasses in a toast; nonno sport: grandfather doing sport; nucleare simbolo: nuclear sign; orme sulla neve:
footprints in the snow; tante orme sulla neve: footprints in the snow; orologio da parete: wall clock; orso:
bear; pacco regalo: gift box; paesaggio marino: seascape; pallone aerestatico: hot air balloon; pannocchia di
gran turco: corn on the cob; pattinatrice: woman skating; pattinatrici sul ghiaccio: women skating on ice;
pattino: skate; pecora: sheep; pera: pear; pesca: peach; pescetto arancione: orange fish; pinguino col
piccolo: penguin with its chick; pizza 4 stagioni: pizza; pollo: chicken; poltrona ufficio: office chair;
pomodori: tomatoes; portafoglio: wallet; proiettore: projector; provetta plasma sangue: test tube with blood;
provette: test tubes; provetta: test tube; pulsante: button; puntine: drawing pins; quattro farfalle: four
butterflies; ragnetto incazzato: spider; ragno figo: spider; ramarro: green lizard; rana: frog; ravanello:
radish; rhinoceros 3d: rhinoceros; ruota dentata: gear wheel; ruota dentata grigia: grey gear wheel; sacco a
pelo per campeggio: sleeping bag; salvagente: life belt; sapone liquido: liquid soap; schermo macintosh:
computer screen; scodella gatto: cat bowl; scolapasta e pentola: colander and pot; secchio e spugna: bucket
and sponge; sedia e ombrelloni: chair and beach umbrellas; sedia in legno: wooden chair; signore: gentleman;
signorina: young woman; simbolo egizio: egyptian symbol; simbolo emergenza sanitaria: medical emergency
symbol; simbolo giapponese: japanese symbol; stambecco valdostano: ibex; stampante: printer; stormo di
uccelli: flock of birds; sub subacqueo: scuba diver; tabella: table of numbers; tacchino: turkey; tasto:
keyboard key; tatoo tatuaggio tatuaggi: tattoo; tavolo in legno: wooden table; tavolozza: painter's palette;
tazza di caffe: cup of coffee; teiera tazza: teapot and cup; telecamera: video camera; televisore telecomando:
television and remote control; tenda da campeggio: camping tent; tigre: tiger; topo: mouse; toro al tramonto:
bull at sunset; torta: cake; trattore: tractor; uccello bianco e nero: black and white bird; uccello profilo:
bird; unita disco rigido: hard disk drive; utensile sega: saw; utensili chiave e cacciavite: wrench and
screwdriver; utente singolo: user; utenti: users; anatra: duck; attaccapanni con vestito da donna: dress on a
coat hanger; colombo: dove; cornetto: croissant; martellare: hammering; montacarichi: goods lift; pinguino:
penguin; pittura con pennello: painting with a brush; simbol medicina: symbol of medicine; tacchino di natale:
christmas turkey; traslocatore: removal man; uovo sorridente: smiling egg; ambulanza: ambulance; ape miele:
honey bee; asse da stiro: ironing board; betoniera: concrete mixer; biberon: baby bottle; blocco ghiaccio:
block of ice; blocco notes: notepad; borsetta: handbag; calzettoni: socks; cammello: camel; candela: candle;
carpentiere: carpenter; carretta da cantiere: wheelbarrow; caterpillar: bulldozer; ciuccio: baby's dummy;
corridore: runner; donna casinista: woman; elefante in corsa: running elephant; elefantone: elephant;
fattoria: farm; festoni: garlands; fiocco: bow; foglie arancioni: orange leaves; foglie marroni: brown leaves;
foglie rosse: red leaves; foglie verdi: green leaves; gabbiano piccolo: seagull; ghirlande festa: party
garlands; giardinaggio: gardening; grattacieli grigi: grey skyscrapers; grondaia: rain gutter; guanti e pinze:
gloves and pliers; imbianchino in piedi: house painter; lampada da cantiere: work lamp; metro avvolgibile:
tape measure; motosega: chain saw; mucca: cow; papera: duck; pecorella: sheep; pennuto: bird; pescetto: fish;
pesistica: weight lifting; pinzatrice grigia: grey stapler; principessa: princess; principessa bn: princess in
black and white; profilo della citta: city skyline; ragazza bionda: blonde girl; ragazza bruna: brown haired
girl; ragazza rossa: red haired girl; ragazza seduta: sitting girl; ragazzo: boy; rosa: rose; rose: roses;
scala doppia: step ladder; scatolone: cardboard box; sega per legno: wood saw; serratura: lock; set gatti:
cats; signorina in viola: young woman in purple; signorinacappello: young woman with a hat; signorinafoulard:
young woman with a scarf; spaventapasseri: scarecrow; sport aerobica: aerobics; stetoscopio fonendoscopio:
stethoscope; striscia agnellini: row of lambs; striscia mucche: row of cows; struzzo: ostrich; tavola esame
ottico: eye test chart; texturelegno: wood texture; tramezzino: sandwich; trekking in montagna: hiking in the
mountains; vestito rosa: pink dress; zaino per montagna: mountain backpack; vacca pezzata rossa valdostana:
red and white cow; valigie bags: suitcases; viti: screws; zanzara: mosquito; zanzara cretina: mosquito; zucca:
pumpkin; fabbrica: factory; insetto: insect; lettera: letter; libellula: dragonfly; mattone poroton: brick;
palloncini: balloons; siringa: syringe; farfalla butterfly: butterfly; forbici e pettine scissors and comb:
scissors and comb; lens lente: lens; scissors forbici: scissors; peperoncino pepper: red pepper; architetto:
architect; douche securite: safety shower sign; irritant: irritant hazard sign; charge lourde: heavy load
sign; civiere: stretcher sign; corrosif: corrosive hazard sign; danger général: general danger sign; danger
électrique: electric danger sign; defense de fumer: no smoking sign; defense eteindre avec eau: do not put out
with water sign; direction a suivre: direction arrow sign; direction à suivre: direction arrow sign; eau non
potable: no drinking water sign; echelle: ladder sign; entree interdite: no entry sign; extincteur: fire
extinguisher sign; extremement inflammable: flammable hazard sign; facilement inflammable: flammable hazard
sign; flamme nue interdite: no open flame sign; interdiction pietons: no pedestrians sign; interdiction
vehicules manutention: no fork lifts sign; lance a incendie: fire hose sign; ne pas toucher: do not touch
sign; nocif: harmful hazard sign; obligation generale: mandatory sign; premiers secours: first aid sign;
protection obligatoire corps: wear protective clothing sign; protection obligatoire figure: wear a face shield
sign; protection obligatoire mains: wear gloves sign; protection obligatoire ouie: wear ear protection sign;
protection obligatoire pieds: wear safety boots sign; protection obligatoire tete: wear a helmet sign;
protection obligatoire voies respiratoires: wear a breathing mask sign; protection obligatoire vue: wear
safety glasses sign; rayonnement laser: laser hazard sign; rincage yeux: eye wash sign; risque biologique:
biological hazard sign; risque pour l'environnement: danger to the environment sign; sortie issue de secours:
emergency exit sign; telephone lutte incendie: fire telephone sign; telephone sauvetage: emergency telephone
sign; trebuchement: tripping hazard sign; tres toxique: poison hazard sign; vehicules manutention: fork lift
sign; high tension danger: high voltage sign; radiations ionisantes: radiation hazard sign""")


@dataclass(frozen=True)
class _IconSet:
    # Regular expressions choose the icons that show things rather than steps of a program.
    package: str
    kind: str = "icon"
    categories: str = ""
    names: str = ""
    skip: str = "(?!)"
    variant: str = "(?!)"  # the ending of a name that tells apart icons of one thing


_BRANDS = (
    r"github|discord|instagram|pinterest|facebook|linkedin|youtube|twitter|ubuntu|bluesky|peertube|pixelfed"
    r"|mastodon|whatsapp|tiktok|^meta$|google|apple-(ipod|logo)|android|windows|linux|amazon|play-?store"
    r"|app-?store|letter-?symbol|spotify|paypal|logo"
)
_STREAMLINE = (
    r"Food|Nature|Ecology|Health|Sport|Transport|Travel|Map|Building|Construction|Culture|Entertainment|Weather"
    r"|Science|School|Music|Hobb|Famil|Users|Devices|Shopping|Wayfinding"
)
_ICON_PARK = (
    r"Animals|Baby|Build|Clothes|Constellation|Foods|Hands|Hardware|Health|Industry|Life|Makeups|Measurement"
    r"|Music|Peoples|Sports|Travel|Weather"
)
_MARKETEQ = (
    r"arrow|-sign|square|circle|octagon|delta|-left|-right|-up|-down|alpha|integral|diameter|root|sort|share"
    r"|upload|download"
)
_METEOCONS = r"code-|beaufort|uv-index-|fahrenheit|celsius|time-"
_ICON_SETS = [
    *(_IconSet(name, "emoji") for name in ("noto", "noto-v1", "openmoji", "fxemoji")),
    *(_IconSet(name, "emoji") for name in ("streamline-emojis", "emojione")),
    _IconSet("streamline-color", categories=_STREAMLINE, skip="-flat$"),
    _IconSet("streamline-flex-color", categories=_STREAMLINE, skip="-flat$"),
    _IconSet("streamline-plump-color", categories=_STREAMLINE, skip="-flat$"),
    _IconSet("streamline-sharp-color", categories=_STREAMLINE, skip="-flat$"),
    _IconSet("streamline-kameleon-color", categories=_STREAMLINE, variant="-duo"),
    _IconSet("streamline-stickies-color", variant="-duo"),
    _IconSet("streamline-ultimate-color", categories=_STREAMLINE),
    _IconSet("streamline-freehand-color", categories=_STREAMLINE),
    _IconSet("streamline-cyber-color", categories=_STREAMLINE),
    _IconSet(
        "icon-park",
        categories=_ICON_PARK,
        skip="middle-finger|slave|xiaodu|disable",
        variant="-(one|two|three|four|five|six|seven|eight|nine|ten)",
    ),
    _IconSet("marketeq", skip=_MARKETEQ),
    _IconSet("flat-color-icons"),
    _IconSet("flat-ui"),
    _IconSet("meteocons", names="-fill$", skip=_METEOCONS, variant="-fill"),
    _IconSet("circle-flags", "flag", names="^[a-z]{2}$"),
    _IconSet("flag", "flag", names="^[a-z]{2}-4x3$", variant="-4x3"),
]


@dataclass(frozen=True)
class _Activity:
    # A folder whose files are named after what they show.
    files: str
    kind: str = "drawing"
    skip: str = "(?!)"
    caption: str = "{}"


_NOT_WORDS = r"alphabet|^(black|blue|brown|gray|green|mauve|pink|red|white|yellow|color|orange color)$"
_ACTIVITIES = [
    _Activity(r"lang/resource/words_sample/", skip=_NOT_WORDS),
    _Activity(r"erase/resource/", "photo", skip="transparent"),
    _Activity(r"explore_farm_animals/resource/animals/.*webp", "photo", skip="farm"),
    _Activity(r"explore_farm_animals/resource/animals/.*svg", skip="farm"),
    _Activity(r"explore_world_animals/resource/animals/", "photo", skip="question"),
    _Activity(r"explore_monuments/resource/\w+/.*webp", "photo", skip="world map"),
    _Activity(r"categorization/resource/images/fishes/", "photo"),
    _Activity(r"categorization/resource/images/(tools|others|renewable)/", "photo"),
    _Activity(r"categorization/resource/images/monuments/", "photo", "^monument$|le musee"),
    _Activity(r"details/resource/image/.*_background", "photo"),
    _Activity(r"solar_system/resource/.*webp", "photo"),
    _Activity(r"memory/resource/\d\d_"),
    _Activity(r"babyshapes/resource/food/"),
    _Activity(r"babymatch/resource/images/", skip="windflag|^sound$|^light$"),
    _Activity(r"instruments/resource/"),
    _Activity(r"/colors/resource/", skip="error"),
    _Activity(r"advanced_colors/resource/", skip="error"),
    _Activity(r"enumerate/resource/"),
    _Activity(r"family/resource/", skip="rings", caption="face of a {}"),
    _Activity(r"traffic/resource/(car|truck)", caption="{} seen from above"),
    _Activity(r"chronos/resource/images/seasons"),
    _Activity(r"mosaic/resource/(banana|mushroom|orange|pencil|oil)"),
]
_NAMED_ANEW = _pairs("""\
solar: solar panels; cutting tool: pliers; plier: pliers; eyes: eye; flies: fly; dad: father; chamaeleon:
chameleon; buffetset: buffet set; blackslate: school slate; bulb: light bulb; burj: Burj Khalifa tower;
windmill6: wind turbine; knife: knife, fork and spoon; fish1: angelfish; fish4: two perch; fish9: clownfish;
fish10: orange fish at a coral reef; fish11: many fish under water; fish25: goldfish; fish28: pufferfish;
chenonceau background: chateau de chenonceau castle over a river; egeskov slot spejling background: egeskov
castle mirrored in a lake; eglise d auvers sur oise background: painting of the church at auvers by van gogh;
eilan donan castle background: eilean donan castle; fanoe windmill background: windmill; gizah pyramids
background: pyramids of giza in the desert; gogh background: painting of a cafe terrace at night by van gogh;
louvre 2007 02 24 c background: louvre museum with glass pyramid at night; ndp background: notre dame
cathedral in paris at night; nagoya background: nagoya castle in japan; neuschwanstein background:
neuschwanstein castle; opera sidney background: sydney opera house; portrait of pere tanguy background:
painted portrait of pere tanguy by van gogh; taj mahal background: taj mahal; tour eiffel background: eiffel
tower; tower bridge london background: tower bridge in london at night; van gogh the night cafe background:
painting of the night cafe by van gogh; vincent van gogh background: painting by van gogh; vincent van gogh
bridge background: painting of a bridge by van gogh; fusee: rocket; rape: grater; raquette: racket; eggpot:
egg cup; postpoint: post box; tuxhelico: helicopter; tuxplane: penguin in a plane; flute traversiere: flute;
horn: french horn; redbird: red bird; bluebirds: blue birds; bluebaby: baby in blue; greenbaby: baby in green;
marmelade: jam; seasons autumn: tree in autumn; seasons spring: tree in spring; seasons summer: tree in
summer; seasons winter: bare tree in winter; kutub minar: qutub minar tower; zimni palace: winter palace;
empire state: empire state building; bayterek: bayterek tower; weighing machine: weighing scale; spray: spray
can; side cutter: side cutter pliers; oil paint: oil paint tubes""")

# Names of icons and folders that show things.
_OXYGEN = re.compile(
    r"^(audio-(headphones|headset|speakers|input-microphone)|battery|camera|computer|cpu|drive|input"
    r"|media-(flash|floppy|optical)|modem|multimedia|pda|phone|printer|scanner|smartphone|tablet|video|network-w"
    r"|weather|face|folder$|user-(trash|desktop|home)|mail|view-calendar$|flag|games|food|alarm|help-about|trash)"
)
_STREETMIX = re.compile(
    r"^(bikes|buildings|construction|curb|dividers|furniture|lamps|people|plants|scooters|transit|trees|vehicles"
    r"|vendors)/(?!.*(piece|tracks|dome|jasmine|krz))"
)
_SIDES = re.compile(r"\b(inbound|outbound|left|right|center|both|alt|wyc|av|brt|\d\d)\b")
_CATALOGUES = {  # of Sweet Home 3D
    "KatorLegaz": "CC-BY-3.0-US",
    "BlendSwap-CC-0": "CC0-1.0",
    "BlendSwap-CC-BY": "CC-BY-3.0",
    "Reallusion": "CC-BY-3.0-US",
    "Scopia": "CC-BY-3.0",
}


def plain(name: str) -> str:
    """The words of a name: 'horse_running_2' and 'horseRunning2' are 'horse running'."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    name = re.sub(r"[_\-+/.,;|~\"()\[\]#?!*]+", " ", name)
    name = re.sub(r"(?<=[a-zA-Z])\d+\b", "", name)  # horse2
    name = re.sub(r"(\s\d+[a-z]?)+\s*$", "", name)  # horse 2
    return " ".join(name.lower().split()).strip("'\u2019 :")


def letters(text: str) -> str:
    """ASCII letters and digits of a text, without accents: a key to match names by."""
    text = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in text if character.isascii() and character.isalnum())


_DC = "{http://purl.org/dc/elements/1.1/}"
_CC = "{http://web.resource.org/cc/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def _openclipart(folders: Folders) -> Iterator[Found | str]:
    drawings = folders["openclipart-png"] / "usr/share/openclipart/png"
    categories: dict[Path, list[str]] = defaultdict(list)
    for path in sorted(drawings.rglob("*.png")):
        categories[path.resolve()] += path.relative_to(drawings).parts[:-1]
        if path.is_symlink():
            yield "a second name of a picture (its categories are kept as keywords)"
    for path, groups in categories.items():
        where = path.relative_to(drawings.resolve())
        svg = folders["openclipart-svg"] / "usr/share/openclipart/svg" / where.with_suffix(".svg")
        work = next(ElementTree.parse(svg).iter(f"{_CC}Work"))
        artist = _artist_name(work.findtext(f"{_DC}creator/{_CC}Agent/{_DC}title") or "")
        subjects = [plain(item.text or "") for item in work.iterfind(f"{_DC}subject//{_RDF}li")]
        title = plain((work.findtext(f"{_DC}title") or "").replace("&#39;", "'"))
        named = title and not _COLLECTION.search(title)
        caption = title if named else _without_artist(where.stem, artist)
        caption = re.sub(r"\bb and w\b|\bbw\b", "black and white", caption)
        caption = _FILLERS.sub("", caption).strip()
        caption = _RENAMED.get(caption, caption)
        everything = " ".join([str(where.parent), title, caption, *subjects]).lower()
        italian, french = "rollandin" in artist.lower(), "guillou" in artist.lower()
        english = _ENGLISH.get(caption) if italian or french else None
        if "-theme/" in str(where) or caption == "plastik icon":
            yield "icon themes of desktops (named after programs and menu entries)"
        elif "logos" in where.parts or re.search(r"\blogos?\b", everything):
            yield "logos"
        elif _UNSUITABLE.search(everything):
            yield "political or not safe for work, by title, keyword or folder"
        elif _TEXT.search(caption) or _TEXT.search(" ".join(subjects)):
            yield "text and letters"
        elif not english and (french or (italian and not caption.isascii())):
            yield "title not in English"
        elif not re.search(r"[a-z]{3}", english or caption):
            yield "no title in words"
        else:
            caption = english or caption
            flag = "flags" in where.parts
            if flag and "flag" not in caption and where.parts[-2] != "signal":
                caption = f"flag of {caption}"
            words = [*subjects, *groups]
            words = [word for word in words if word not in ("unsorted", "magick", artist.lower())]
            words = [word for word in words if not word.startswith(("hash", "0x"))]
            terms = work.find(f"{_CC}license")
            gpl = terms is not None and "GPL" in terms.get(f"{_RDF}resource", "")
            licence = "GPL-2.0" if gpl else "public domain"
            kind = "flag" if flag else "icon" if _SYMBOLS & set(where.parts) else "drawing"
            with Image.open(path) as header:  # a large one is drawn anew in less time than it is read
                data = (svg if header.width * header.height > 4_000_000 else path).read_bytes()
            yield Found(str(where.with_suffix("")), data, caption, words, artist, licence, kind)


def _artist_name(text: str) -> str:
    text = re.sub(r"[\[(<][^)\]>]*@[^)\]>]*[)\]>]", "", text)  # an address
    text = re.sub(r"(\S+)@\S+", r"\1", text)
    text = re.sub(r"(?i)architetto|\(public domain clipart\)", "", text)
    return " ".join(text.replace("...", "").split())


def _without_artist(stem: str, artist: str) -> str:
    # Names of files end in the artist's name, often cut short: echelle_yves_guillou_01.
    parts = [letters(word) for word in artist.split()] + ["architetto"]
    keys = [(word, letters(word)) for word in plain(stem).split()]
    kept = [word for word, key in keys if len(key) < 2 or not any(part.startswith(key) for part in parts)]
    return re.sub(r"((^| )\S)+$", "", " ".join(kept))


def _iconify(icons: _IconSet, folders: Folders) -> Iterator[Found | str]:
    package = folders[f"@iconify-json/{icons.package}"] / "package"
    collection, info, metadata, chars = (
        json.loads((package / f"{name}.json").read_text()) for name in ("icons", "info", "metadata", "chars")
    )
    categories = {name: group for group, names in metadata.get("categories", {}).items() for name in names}
    codes = {name: code.upper().replace("-FE0F", "") for code, name in chars.items()}
    by_code, by_name = _emoji(folders["emojibase-data"])
    for name, icon in collection["icons"].items():
        category, code = categories.get(name, ""), codes.get(name, "")
        base = re.sub(f"({icons.variant})$", "", name)
        label, tags = "", []
        if icons.kind == "emoji":
            label, tags = by_code.get(code) or by_name.get(letters(base)) or ("", [])
        elif icons.kind == "flag":  # two letters of a country, whose code points are those of its emoji
            points = "-".join(f"{ord(letter) - ord('a') + 0x1F1E6:X}" for letter in base)
            label, tags = by_code.get(points, ("", []))
        if not label and icons.package == "fxemoji":
            base = _in_words(name, _words(folders["emojibase-data"]))
        named = label or icons.kind != "flag"
        caption = plain(re.sub("^flag: ", "flag of ", label or base))
        kind = "flag" if category == "Flags" or caption.startswith("flag of") else icons.kind
        if kind == "flag":
            caption = re.sub(r"^flag (for |of )?(?!in\b|.*flag)", "flag of ", caption)
        if icon.get("hidden") or re.search(f"{_BRANDS}|{icons.skip}", name):
            yield "interface symbols, brands and retired icons"
        elif not re.search(icons.names, name) or not re.search(icons.categories, category):
            yield "categories of interface symbols and variants of one icon"
        elif "skin-tone" in name or (not label and "1F3F" in code):
            yield "skin tones of one emoji"
        elif not named or len(letters(caption)) < 2 or re.match("regional indicator|[0-9]+$", caption):
            yield "no name in words"
        else:
            box = [str(icon.get(side, 0)) for side in ("left", "top")]
            box += [str(icon.get(side, collection.get(side, 16))) for side in ("width", "height")]
            space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            svg = f'<svg {space} viewBox="{" ".join(box)}">{icon["body"]}</svg>'.encode()
            artist, licence = info["author"]["name"], info["license"]["spdx"]
            yield Found(name, svg, caption, [*tags, category], artist, licence, kind)


_Emoji = dict[str, tuple[str, list[str]]]  # labels and tags


@cache
def _emoji(package: Path) -> tuple[_Emoji, _Emoji]:
    # By code points, of which none have skin tones, and by labels and short names.
    entries = json.loads((package / "package/en/data.json").read_text())
    by_code = {one["hexcode"].replace("-FE0F", ""): (one["label"], one.get("tags", [])) for one in entries}
    by_name = {letters(emoji[0]): emoji for emoji in by_code.values()}
    for path in sorted((package / "package/en/shortcodes").glob("*.json")):
        for code, names in json.loads(path.read_text()).items():
            if emoji := by_code.get(code.replace("-FE0F", "")):
                for name in [names] if isinstance(names, str) else names:
                    by_name.setdefault(letters(name), emoji)
    return by_code, by_name


@cache
def _words(package: Path) -> set[str]:
    texts = (plain(" ".join([label, *tags])) for label, tags in _emoji(package)[0].values())
    words = {word for text in texts for word in text.split()}
    return {word for word in words if len(word) > 2 or word in ("in", "of", "on", "up")}


def _in_words(name: str, words: set[str]) -> str:
    # 'loveletter' is 'love letter': by known words, the longest first; none where it cannot be done.
    for length in range(len(name), 1, -1):
        if name[:length] in words:
            rest = _in_words(name[length:], words)
            if rest or length == len(name):
                return f"{name[:length]} {rest}".strip()
    return ""


def _gcompris(folders: Folders) -> Iterator[Found | str]:
    package = folders["gcompris-qt-data"]
    terms = _read_copyright(package / "usr/share/doc/gcompris-qt-data/copyright")
    files: dict[str, bytes] = {}
    for path in sorted((package / "usr/share/gcompris-qt/rcc").glob("*.rcc")):
        files.update(_qt_resources(path.read_bytes()))
    board = re.compile(r'"title": qsTr\("([^"]+)"\).*?"image2": "qrc:/([^"]+)"', re.DOTALL)
    boards = [data.decode() for path, data in files.items() if path.endswith(".qml")]
    titles = {image: title for text in boards for title, image in board.findall(text)}
    for path, data in files.items():
        file = Path(path)
        if file.suffix not in (".webp", ".svg", ".svgz", ".png"):
            continue
        stem = plain(file.stem.lstrip("0123456789"))
        fitting = (one for one in _ACTIVITIES if re.search(one.files, path))
        activity = next((a for a in fitting if not re.search(rf"background\.svg|{a.skip}", file.name)), None)
        if activity is None or re.search(activity.skip, stem):
            yield "backgrounds, buttons, pieces of puzzles, letters, maps: not named after what they show"
            continue
        title = plain(titles.get(path, "")) or _NAMED_ANEW.get(file.stem) or _NAMED_ANEW.get(stem, stem)
        caption = activity.caption.format(title).replace("a old", "an old")
        group = re.search(r"categorization/.*images/(\w+)/", path)
        words = [group[1]] if group and group[1] != "others" else []
        if re.search(r"categorization/.*\d\.\w+$", path):
            # These were numbered anew since debian/copyright was written: it does not say which is whose.
            licence, artist = "CC-BY-SA-4.0 or freer, see debian/copyright", "see debian/copyright"
        else:
            source = path.replace("gcompris/src", "src")
            licence, artist = next(own for files, *own in reversed(terms) if _names(files, source))
        name = path.removeprefix("gcompris/src/activities/").replace("/resource", "").rsplit(".", 1)[0]
        name += "-drawing" if file.suffix == ".svg" and "farm" in path else ""
        yield Found(name, data, caption, words, artist or "GCompris contributors", licence, activity.kind)


def _qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    # A compiled resource file of Qt: a tree of nodes, the files' contents and the names.
    version, tree, contents, names = struct.unpack_from(">IIII", data, 4)

    def walk(node: int, path: str) -> Iterator[tuple[str, bytes]]:
        start = tree + node * (22 if version >= 2 else 14)
        name, flags = struct.unpack_from(">IH", data, start)
        if node:
            (length,) = struct.unpack_from(">H", data, names + name)
            first = names + name + 6
            path = f"{path}/{data[first : first + 2 * length].decode('utf-16-be')}".lstrip("/")
        if flags & 2:  # a folder
            count, first = struct.unpack_from(">II", data, start + 6)
            for child in range(first, first + count):
                yield from walk(child, path)
        else:
            (offset,) = struct.unpack_from(">I", data, start + 10)
            first = contents + offset + 4
            (length,) = struct.unpack_from(">I", data, first - 4)
            body = data[first : first + length]
            yield path, zlib.decompress(body[4:]) if flags & 1 else body

    return walk(0, "")


def _read_copyright(path: Path) -> list[tuple[str, str, str]]:
    # Patterns of files, licence and artist of a machine-readable debian/copyright; the last that fits holds.
    terms: list[tuple[str, str, str]] = []
    for paragraph in re.split(r"\n\s*\n", path.read_text()):
        fields = dict(re.findall(r"^(\w+):((?:.*\n?)(?:[ \t].*\n?)*)", paragraph, re.MULTILINE))
        licence = fields.get("License", "").split("\n")[0].strip().replace("public-domain", "public domain")
        artist = " ".join(fields.get("Copyright", "").split())
        artist = re.sub(r"<[^>]*>|\(C\)|©|\b(19|20)\d\d\b[-,\u2013. ]*", "", artist)
        artist = " ".join(artist.split()).strip(" ,.-\u00b4")[:100]
        terms += [(one, licence, artist if one != "*" else "") for one in fields.get("Files", "").split()]
    return terms


def _names(pattern: str, path: str) -> bool:
    # Whatever format the picture is kept in since.
    return fnmatch(path, pattern) or fnmatch(path.rsplit(".", 1)[0], pattern.rsplit(".", 1)[0])


def _pysiogame(folders: Folders) -> Iterator[Found | str]:
    folder = folders["pysiogame"] / "usr/share/games/pysiogame/res/images/art4apps"
    for path in sorted(folder.glob("*/*.jpg")):
        name, words = f"{path.parent.name}/{path.stem}", path.parent.name.split("_n_")
        artist, licence = "Art4Apps, Smart4Kids", "CC-BY-SA-3.0"
        yield Found(name, path.read_bytes(), plain(path.stem), words, artist, licence, "drawing")


def _oxygen(folders: Folders) -> Iterator[Found | str]:
    folder = folders["oxygen-icon-theme"] / "usr/share/icons/oxygen/base/128x128"
    for group in ("devices", "places", "status", "emotes"):
        for path in sorted((folder / group).glob("*.png")):
            if path.is_symlink() or (group != "emotes" and not _OXYGEN.search(path.stem)):
                yield "symbols of programs, and second names of icons"
                continue
            name, artist, licence = f"{group}/{path.stem}", "The Oxygen Team, KDE", "LGPL-3.0"
            yield Found(name, path.read_bytes(), plain(path.stem), [group], artist, licence, "icon")


def _streetmix(folders: Folders) -> Iterator[Found | str]:
    folder = folders["@streetmix/illustrations"] / "package/images"
    for path in sorted(folder.rglob("*.svg")):
        name, group = str(path.relative_to(folder).with_suffix("")), path.parent.name
        if not _STREETMIX.search(name):
            yield "road surfaces, markings, thumbnails and pieces"
            continue
        caption = "people" if group == "people" else " ".join(_SIDES.sub("", plain(path.stem)).split())
        words = [group, "street"]
        yield Found(name, path.read_bytes(), caption, words, "Streetmix", "CC-BY-SA-4.0", "drawing")


def _sweethome3d(folders: Folders) -> Iterator[Found | str]:
    folder = folders["sweethome3d-furniture"] / "usr/share/sweethome3d/furniture"
    for catalogue, licence in _CATALOGUES.items():
        with zipfile.ZipFile(folder / f"{catalogue}.sh3f") as file:
            text = file.read("PluginFurnitureCatalog.properties").decode("latin-1")
            text = re.sub(r"\\u(\w{4})", lambda code: chr(int(code[1], 16)), text)
            entries: dict[str, dict[str, str]] = defaultdict(dict)
            for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*)$", text, re.MULTILINE):
                entries[number][key] = value.strip()
            for number, entry in entries.items():
                caption = plain(entry.get("name", ""))
                words = [*entry.get("tags", "").split(","), entry.get("category", "")]
                words = [word for word in words if word.strip() not in ("Blend Swap", "Miscellaneous")]
                name, artist = f"{catalogue}/{number}-{caption.replace(' ', '-')}", entry.get("creator", "")
                data = file.read(entry["icon"].lstrip("/"))
                yield Found(name, data, caption, words, artist, licence, "drawing")


def _gimp(folders: Folders) -> Iterator[Found | str]:
    # A pattern: a header of numbers and a name, then the pixels.
    for path in sorted((folders["gimp-data"] / "usr/share/gimp/3.0/patterns").rglob("*.pat")):
        data = path.read_bytes()
        header, _, width, height, channels = struct.unpack_from(">IIIII", data)
        if channels not in (3, 4) or min(width, height) < 48:
            yield "small or grey patterns"
            continue
        png = io.BytesIO()
        pixels = data[header : header + width * height * channels]
        Image.frombytes("RGB" if channels == 3 else "RGBA", (width, height), pixels).save(png, "png")
        caption = plain(data[24:header].split(b"\0")[0].decode()) + " texture"
        words = ["pattern", "surface"]
        yield Found(path.stem, png.getvalue(), caption, words, "GIMP", "GPL-3+", "background")


def _by_hand(source: str, folders: Folders) -> Iterator[Found | str]:
    with Path(__file__).with_name("captions.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row.pop("source") == source:
                data = (folders[row.pop("package")] / row.pop("file")).read_bytes()
                yield Found(data=data, keywords=row.pop("keywords").split(";"), **row)


SOURCES: dict[str, Reader] = {
    "openclipart": _openclipart,
    **{icons.package: partial(_iconify, icons) for icons in _ICON_SETS},
    "gcompris": _gcompris,
    "pysiogame": _pysiogame,
    "ulcc": partial(_by_hand, "ulcc"),
    "sweethome3d": _sweethome3d,
    "palapeli": partial(_by_hand, "palapeli"),
    "oxygen": _oxygen,
    "gimp": _gimp,
    "wallpapers": partial(_by_hand, "wallpapers"),
    "streetmix": _streetmix,
    "python-samples": partial(_by_hand, "python-samples"),
    "stdlib": partial(_by_hand, "stdlib"),
}
