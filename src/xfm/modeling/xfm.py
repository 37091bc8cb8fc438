"""The composition: three encoders, projections, temperature and heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfm.config.model import ModelConfig
from xfm.modeling.fusion import FusionEncoder, FusionQuery, ImageBank
from xfm.modeling.heads import MLPHead, TokenHead
from xfm.modeling.language import LanguageEncoder
from xfm.modeling.vision import VisionEncoder

TEMPERATURE_RANGE = (0.001, 0.5)


class XFM(nn.Module):
    """X-FM (arXiv 2301.05065): language, vision and fusion encoders with their pre-training heads.

    In the shapes, B counts pictures, R texts, Q fused pairs; P is the number of patches, T a text's length,
    Dv and Dt are the vision and language widths, E is the projection's.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionEncoder(config.vision)
        self.language = LanguageEncoder(config.language)
        self.fusion = FusionEncoder(config.fusion, config.language, config.vision.width)
        self.reset_heads()

    def reset_heads(self) -> None:
        """Projections, temperature and heads as a new model has them."""
        config = self.config
        width, image_width = config.language.width, config.vision.width
        self.vision_proj = nn.Linear(image_width, config.projection)
        self.text_proj = nn.Linear(width, config.projection)
        self.temperature = nn.Parameter(torch.tensor([config.temperature]))
        self.itm_head = MLPHead(width, 2)
        self.bbox_head = MLPHead(width, 4)
        self.language_head = TokenHead(self.language.embeddings.words)
        self.fusion_head = TokenHead(self.fusion.embeddings.words)

    def encode_image(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] float (and [B, P] bool masked patches) -> [B, 1 + P, Dv]."""
        return self.vision(pixels, patch_mask)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] int64 ids and [R, T] bool mask -> [R, T, Dt]."""
        return self.language(ids, mask)

    def fuse(
        self,
        text: Tensor,
        text_mask: Tensor,
        image: Tensor,
        image_index: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Fuse texts with pictures.

        Args:
            text: [Q, T, Dt] from `encode_text`.
            text_mask: [Q, T] bool.
            image: [B, 1 + P, Dv] from `encode_image`.
            image_index: [Q] int64, the picture of each text; by default text q goes with picture q.
            visible: [Q, P] bool, the patches that may be attended to; by default all. Slot 0 always may.

        Returns:
            [Q, T, Dt]; token 0 stands for the pair.
        """
        if image_index is None:
            image_index = torch.arange(text.shape[0], device=text.device)
        query = FusionQuery(text, text_mask, image_index, visible=visible)
        return self.fusion(query, ImageBank(slots=image[:, :1], patches=image[:, 1:]))

    def project_image(self, slot0: Tensor) -> Tensor:
        """[..., Dv] -> unit vectors [..., E] (float32)."""
        return F.normalize(self.vision_proj(slot0).float(), dim=-1)

    def project_text(self, token0: Tensor) -> Tensor:
        """[..., Dt] -> unit vectors [..., E] (float32)."""
        return F.normalize(self.text_proj(token0).float(), dim=-1)

    def embed_image(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> unit vectors [B, E]."""
        return self.project_image(self.encode_image(pixels)[:, 0])

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] ids and mask -> unit vectors [R, E]."""
        return self.project_text(self.encode_text(ids, mask)[:, 0])

    def language_logits(self, states: Tensor) -> Tensor:
        """[N, Dt] states of the language encoder -> [N, V] token logits (MLM head)."""
        return self.language_head(states, self.language.embeddings.words)

    def fusion_logits(self, states: Tensor) -> Tensor:
        """[N, Dt] states of the fusion encoder -> [N, V] token logits (IMLM head)."""
        return self.fusion_head(states, self.fusion.embeddings.words)

    def match_logits(self, fused: Tensor) -> Tensor:
        """[Q, T, Dt] fused states -> [Q, 2] matching logits; column 1 is "matched"."""
        return self.itm_head(fused[:, 0]).float()

    def boxes(self, fused: Tensor) -> Tensor:
        """[Q, T, Dt] fused states -> [Q, 4] boxes (cx, cy, w, h) as fractions of the picture's sides."""
        return self.bbox_head(fused[:, 0]).float().sigmoid()

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Keep the temperature in [0.001, 0.5]; called once before every step."""
        self.temperature.clamp_(*TEMPERATURE_RANGE)
