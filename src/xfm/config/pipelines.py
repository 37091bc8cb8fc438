"""What pipelines and searches can be asked for. Nothing here imports torch."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from xfm.config.inference import MOST as MOST_TOKENS
from xfm.config.typed import Limited, check_limits, limited, refuse
from xfm.core.errors import UserError

_HOST = re.compile(r"\*|(\*\.)?[\w:-]+(\.[\w:-]+)*")


@dataclass(frozen=True)
class UrlRules(Limited, place="urls."):
    """Which addresses pictures may be fetched from, and how much of them.

    Attributes:
        max_bytes: largest picture; a larger one is refused as soon as that is known.
        seconds: for one picture, everything included.
        redirects: how many are followed; each is checked as the first address is.
        private: whether addresses of the own machine and network are allowed too.
        hosts: the only hosts that are asked, in small letters; `*.example.org` is all below; any if empty.
    """

    max_bytes: int = limited(32 << 20, 1)
    seconds: float = limited(20.0, 0.001, 3600)
    redirects: int = limited(3, 0, 20)
    private: bool = False
    hosts: tuple[str, ...] = ()

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
class TopK(Limited):
    """How many candidates an answer has.

    Attributes:
        top_k: most candidates, best first; 0 gives all. All labels that are chosen are there.
    """

    top_k: int = limited(5, 0)


@dataclass(frozen=True)
class ZeroShotOptions:
    """Classification by the names of the classes.

    Attributes:
        candidate_labels: names of the classes.
        hypothesis_template: sentences with {} in the label's place, over which vectors are averaged.
        top_k: most labels, best first; 0 gives all.
    """

    candidate_labels: list[str] = field(default_factory=list)
    hypothesis_template: list[str] = field(default_factory=lambda: ["This is a photo of {}."])
    top_k: int = limited(0, 0)

    def __post_init__(self) -> None:
        check_limits(self)
        if twice := [one for one, count in Counter(self.candidate_labels).items() if count > 1]:
            raise ValueError(f"candidate_labels names {twice[0]!r} twice")
        if bad := [one for one in self.hypothesis_template if one.count("{}") != 1]:
            raise ValueError(f"hypothesis_template {bad[0]!r} must hold {{}} once, where the label goes")
        if not self.hypothesis_template:
            raise ValueError("hypothesis_template needs a sentence such as 'This is a photo of {}.'")


@dataclass(frozen=True)
class RetrievalOptions(Limited):
    """Search in a gallery.

    Attributes:
        top_k: most candidates, best first; 0 gives all.
        rerank: nearest candidates that the fusion encoder ranks again; 0 keeps the order of the vectors.
    """

    top_k: int = limited(10, 0)
    rerank: int = limited(32, 0)


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

    top_k: int = limited(5, 1, MOST_TOKENS)
    answers: list[str] = field(default_factory=list)
    free: bool = False
    max_tokens: int = limited(12, 2, MOST_TOKENS)
    beams: int = limited(3, 1, MOST_TOKENS)

    def __post_init__(self) -> None:
        check_limits(self)
        refuse(
            {"answers are either ranked (answers) or written (free), not both": self.free and self.answers}
        )


MOST = 1000
"""Pictures that one search gives or re-ranks at most."""
UNFITTED_MIN_SCORE = 0.5
"""Probability of a match from which something is found, where nobody fitted that to the model."""

SURE = 0.9
"""Probability below which an answer says what its model knows."""

NEARLY_ALIKE = 0.9
"""Cosine from which two pictures of a collection count as copies of one another."""


@dataclass(frozen=True)
class SearchOptions(Limited):
    """A search in a collection.

    Attributes:
        top_k: most pictures, the best first.
        rerank: nearest candidates that the fusion encoder ranks again; 0 keeps the order of the vectors.
        min_score: probability of a fit from which a search by a text answers; else the model's own, or 0.5.
        where: conditions on metadata, all of which hold: kind=dog, kind=dog,cat, price<10.
    """

    top_k: int = limited(10, 1, MOST)
    rerank: int = limited(32, 0, MOST)
    min_score: float | None = limited(None, 0, 1)
    where: list[str] = field(default_factory=list)
