"""The composition: three encoders, projections, temperature and heads."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfm.config.model import ModelConfig
from xfm.data.schema import Tokens
from xfm.models.encoders import LANGUAGE, VISION, AnyLanguage, AnyVision, encode_first
from xfm.models.fusion import FusionEncoder, FusionQuery, ImageBank, TextBank
from xfm.models.heads import TokenHead, mlp_head
from xfm.models.precision import at_least_float32

TEMPERATURE_RANGE = (0.001, 0.5)
PAIR_HEADS = ("vision_proj.", "text_proj.", "temperature", "logit_bias", "itm_head.", "bbox_head.")
"""Beginnings of the names of projections, temperature and heads of pairs: the published code's own."""
HEADS = (*PAIR_HEADS, "language_head.", "fusion_head.", "pixel_head.")
"""Beginnings of the names of everything that is in no encoder."""


class Composition:
    """Forward passes of the parts, shared by `XFM` and the transformers adapter. Shapes: B images, R texts, Q
    fused pairs, P patches, T text length, Dv and Dt vision and language widths, E projection width."""

    vision: AnyVision
    language: AnyLanguage
    fusion: FusionEncoder
    vision_proj: nn.Linear
    text_proj: nn.Linear
    temperature: nn.Parameter
    logit_bias: Tensor | None
    itm_head: nn.Sequential
    bbox_head: nn.Sequential
    language_head: TokenHead
    fusion_head: TokenHead
    pixel_head: nn.Linear | None

    def build(self, config: ModelConfig) -> None:
        """Set every part, randomly initialised."""
        self.vision = VISION[type(config.vision)](config.vision)
        self.language = LANGUAGE[type(config.language)](config.language)
        self.fusion = FusionEncoder(config.fusion, config.language, config.vision.width)
        self.reset_heads(config)

    @property
    def device(self) -> torch.device:
        """Device of the parameters; the CPU for a model of runtime graphs."""
        assert isinstance(self, nn.Module)
        return next((one.device for one in self.parameters()), torch.device("cpu"))

    def reset_heads(self, config: ModelConfig) -> None:
        """Initialise projections, temperature and heads."""
        width, image_width = config.language.width, config.vision.width
        self.vision_proj = nn.Linear(image_width, config.projection)
        self.text_proj = nn.Linear(width, config.projection)
        self.itm_head = mlp_head(width, 2)
        self.bbox_head = mlp_head(width, 4)
        self.temperature = nn.Parameter(torch.tensor([config.temperature]))
        assert isinstance(self, nn.Module)
        self.register_buffer("logit_bias", torch.zeros(1) if config.logit_bias else None)
        self.language_head = TokenHead(width, self.language.words, config.language.norm_eps)
        self.fusion_head = TokenHead(width, self.fusion.embeddings.words)
        pixels = 3 * config.vision.patch_size**2
        self.pixel_head = nn.Linear(image_width, pixels) if config.pixel_head else None

    def encode_image(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] float (and [B, P] bool masked patches) -> [B, 1 + P, Dv]."""
        return self.vision(pixels, patch_mask)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] int64 ids and [R, T] bool mask -> [R, T, Dt]."""
        return self.language(ids, mask)

    def encode_texts(self, batches: Sequence[Tokens]) -> list[Tensor]:
        """Batches [R, T] of texts -> a [R, T, Dt] for each, in one pass if the encoder has `encode_all`.
        States of padding are undefined."""
        together = getattr(self.language, "encode_all", None)
        return together(batches) if together else [self.language(one.ids, one.mask) for one in batches]

    def fuse(
        self,
        text: Tensor,
        text_mask: Tensor,
        image: Tensor,
        image_index: Tensor | None = None,
        visible: Tensor | None = None,
        text_index: Tensor | None = None,
        read: Tensor | None = None,
    ) -> Tensor:
        """[R, T, Dt] text states and [B, 1 + P, Dv] images -> [Q, T, Dt]; token 0 stands for the pair.
        `image_index` and `text_index` [Q] int64 default to image and text q; `visible` [Q, P] bool limits
        patches (slot 0 is always visible), `read` [Q, m] int64 positions."""
        own = torch.arange(len(text if text_index is None else text_index), device=text.device)
        texts, images = TextBank(text, text_mask), ImageBank(slots=image[:, :1], patches=image[:, 1:])
        said, shown = (own if index is None else index for index in (text_index, image_index))
        return self.fusion([FusionQuery(texts, images, said, shown, visible=visible, read=read)])[0]

    def fuse_first(
        self,
        text: Tensor,
        text_mask: Tensor,
        image: Tensor,
        image_index: Tensor | None = None,
        text_index: Tensor | None = None,
    ) -> Tensor:
        """Token 0 [Q, 1, Dt] of pairs, cheaper than all of `fuse`: text states [R, T, Dt], images [B, 1 +
        P, Dv], and [Q] int64 image and text of each pair (by default q)."""
        count = len(text if text_index is None else text_index)
        read = text_mask.new_zeros(count, 1, dtype=torch.int64)
        return self.fuse(text, text_mask, image, image_index, text_index=text_index, read=read)

    def project_image(self, slot0: Tensor) -> Tensor:
        """[..., Dv] -> unit vectors [..., E] (float32)."""
        slot0 = slot0 if slot0.is_cuda else slot0.contiguous()
        return F.normalize(at_least_float32(self.vision_proj(slot0)), dim=-1)

    def project_text(self, token0: Tensor) -> Tensor:
        """[..., Dt] -> unit vectors [..., E] (float32)."""
        token0 = token0 if token0.is_cuda else token0.contiguous()
        return F.normalize(at_least_float32(self.text_proj(token0)), dim=-1)

    def pair_logits(self, cosines: Tensor) -> Tensor:
        """Cosines of texts and pictures -> logits: over the temperature, plus the bias where there is one."""
        logits = cosines / self.temperature
        return logits if self.logit_bias is None else logits + self.logit_bias

    def embed_image(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> unit vectors [B, E]."""
        return self.project_image(self.encode_image(pixels)[:, 0])

    def embed_text(self, ids: Tensor, mask: Tensor, normalize: bool = True) -> Tensor:
        """[R, T] ids and mask -> unit vectors [R, E] (float32), or those before they are normalised."""
        vectors = self.text_proj(encode_first(self.language, ids, mask))
        return F.normalize(vectors.float(), dim=-1) if normalize else vectors

    def language_logits(self, states: Tensor) -> Tensor:
        """[N, Dt] states of the language encoder -> [N, V] token logits (MLM head)."""
        return self.language_head(states, self.language.words)

    def fusion_logits(self, states: Tensor) -> Tensor:
        """[N, Dt] states of the fusion encoder -> [N, V] token logits (IMLM head)."""
        return self.fusion_head(states, self.fusion.embeddings.words)

    def match_logits(self, fused: Tensor) -> Tensor:
        """[Q, T, Dt] fused states -> [Q, 2] matching logits; column 1 is "matched"."""
        return at_least_float32(self.itm_head(fused[:, 0]))

    def boxes(self, fused: Tensor) -> Tensor:
        """[Q, T, Dt] fused states -> [Q, 4] boxes (cx, cy, w, h) as fractions of the picture's sides."""
        return at_least_float32(self.bbox_head(fused[:, 0])).sigmoid()

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Clamp the temperature to [0.001, 0.5], once before every step."""
        self.temperature.clamp_(*TEMPERATURE_RANGE)


class Backbone(Composition, nn.Module):
    """The composition as one module, on which a task's head stands."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.build(config)

    def resize(self, image_size: int, image_width: int | None = None) -> None:
        """Take images of another size (height, and width if not square); position tables are resampled.
        ValueError where the patch size does not divide it."""
        vision = replace(self.config.vision, image_size=image_size, image_width=image_width)
        self.vision.resize(image_size, image_width)
        self.config = replace(self.config, vision=vision)

    @torch.no_grad()
    def init_fusion_embeddings_from_language(self) -> None:
        """Copy the language encoder's words and token head to the fusion encoder's; ValueError where the
        widths differ."""
        if not self.words_fit:
            raise ValueError("the language encoder's words have another width than its states")
        self.language.copy_words(self.fusion.embeddings)
        self.fusion_head.load_state_dict(self.language_head.state_dict())

    @property
    def words_fit(self) -> bool:
        """Whether the widths of words and states agree, as `init_fusion_embeddings_from_language` needs."""
        return self.language.words.embedding_dim == self.config.language.width
