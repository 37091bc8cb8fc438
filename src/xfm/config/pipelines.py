"""What pipelines can be asked for. Nothing here imports torch."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from xfm.config.inference import BeamSearch, Generation, Sampling
from xfm.config.ranges import check_range, check_ranges
from xfm.core.errors import UserError

_HOST = re.compile(r"\*|(\*\.)?[\w:-]+(\.[\w:-]+)*")


@dataclass(frozen=True)
class UrlRules:
    """Which addresses pictures may be fetched from, and how much of them.

    Attributes:
        max_bytes: largest picture; a larger one is refused as soon as that is known.
        seconds: for one picture, everything included.
        redirects: how many are followed; each is checked as the first address is.
        private: whether addresses of the own machine and network are allowed too.
        hosts: the only ones that are asked, in small letters, redirects included; `*.example.org` is all
            below example.org, `*` any. Any if empty.
    """

    max_bytes: int = 32 << 20
    seconds: float = 20.0
    redirects: int = 3
    private: bool = False
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_range("urls.max_bytes", self.max_bytes, 1)
        check_range("urls.seconds", self.seconds, 0.001, 3600)
        check_range("urls.redirects", self.redirects, 0, 20)

    def asks(self, host: str) -> bool:
        """Whether a host is one of those that are asked."""
        return not self.hosts or any(
            one in ("*", host) or (one.startswith("*.") and host.endswith(one[1:])) for one in self.hosts
        )

    @classmethod
    def of(cls, allowed: "bool | Sequence[str] | UrlRules | None") -> "UrlRules | None":
        """The rules of an argument: rules, hosts, or any public host; None where nothing may be fetched."""
        if isinstance(allowed, UrlRules):
            return allowed
        if isinstance(allowed, bool) or not allowed:
            return cls() if allowed else None
        hosts = [allowed] if isinstance(allowed, str) else [*allowed]
        for host in hosts:
            if not isinstance(host, str) or not _HOST.fullmatch(host):
                raise UserError(
                    f"--allow-urls: {host!r} is no host; give names such as images.example.org or "
                    "*.example.org, or * for any"
                )
        return cls(hosts=tuple(host.lower() for host in hosts))


@dataclass(frozen=True)
class TopK:
    """How many candidates an answer has.

    Attributes:
        top_k: most candidates, best first; 0 gives all. All labels that are chosen are there.
    """

    top_k: int = 5

    def __post_init__(self) -> None:
        check_range("top_k", self.top_k, 0)


@dataclass(frozen=True)
class ZeroShotOptions:
    """Classification by the names of the classes.

    Attributes:
        candidate_labels: names of the classes.
        hypothesis_template: sentences with {} in the label's place; with several, a label's vector is the
            mean of theirs.
        top_k: most labels, best first; 0 gives all.
    """

    candidate_labels: list[str] = field(default_factory=list)
    hypothesis_template: list[str] = field(default_factory=lambda: ["This is a photo of {}."])
    top_k: int = 0

    def __post_init__(self) -> None:
        check_range("top_k", self.top_k, 0)
        if twice := [one for one, count in Counter(self.candidate_labels).items() if count > 1]:
            raise ValueError(f"candidate_labels names {twice[0]!r} twice")
        if bad := [one for one in self.hypothesis_template if one.count("{}") != 1]:
            raise ValueError(f"hypothesis_template {bad[0]!r} must hold {{}} once, where the label goes")
        if not self.hypothesis_template:
            raise ValueError("hypothesis_template needs a sentence such as 'This is a photo of {}.'")


@dataclass(frozen=True)
class RetrievalOptions:
    """Search in a gallery.

    Attributes:
        top_k: most candidates, best first; 0 gives all.
        rerank: candidates of highest contrastive score, top_k at least, that are ranked again by the matching
            head; 0 keeps the contrastive order.
    """

    top_k: int = 10
    rerank: int = 32

    def __post_init__(self) -> None:
        check_ranges(self, ("top_k", "rerank"), 0)


@dataclass(frozen=True)
class AnswerOptions:
    """Answers to questions.

    Attributes:
        top_k: answers, best first.
        answers: the list of answers that is ranked; empty takes the one that the model was fine-tuned with.
        free: write the answers freely instead, by beam search; also where there is no list.
        max_tokens: longest free answer in tokens, begin and end token included.
        beams: of the beam search, at least top_k of them.
    """

    top_k: int = 5
    answers: list[str] = field(default_factory=list)
    free: bool = False
    max_tokens: int = 12
    beams: int = 3

    def __post_init__(self) -> None:
        check_ranges(self, ("top_k", "beams"), 1)
        if self.free and self.answers:
            raise ValueError("answers are either ranked (answers) or written (free), not both")
        self.writing()

    def writing(self) -> BeamSearch:
        """The beam search of free answers: the likeliest whole answers."""
        return BeamSearch(
            self.max_tokens, texts=self.top_k, beams=max(self.beams, self.top_k), length_penalty=0.0
        )


@dataclass(frozen=True)
class CaptionOptions:
    """Captions, by beam search or by drawing tokens.

    Attributes:
        texts: captions of each picture.
        max_tokens: longest caption in tokens, begin and end token included.
        min_tokens: shortest caption, counted alike.
        beams: of the beam search.
        length_penalty: see `BeamSearch`.
        sample: draw tokens instead of searching.
        temperature, top_k, top_p, seed: of the draws, see `Sampling`.
    """

    texts: int = 1
    max_tokens: int = 30
    min_tokens: int = 2
    beams: int = 3
    length_penalty: float = 1.0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("beams", self.beams, 1)
        self.writing()

    def writing(self) -> Generation:
        """The search or the draws."""
        if self.sample:
            drawing = (self.temperature, self.top_k, self.top_p, self.seed)
            return Sampling(self.max_tokens, self.min_tokens, self.texts, *drawing)
        beams = max(self.beams, self.texts)
        return BeamSearch(self.max_tokens, self.min_tokens, self.texts, beams, self.length_penalty)
