"""RoBERTa language encoder; BERT is the same with other settings."""

from torch import Tensor, nn

from xfm.config.model import LanguageConfig
from xfm.modeling.attention import padding_bias
from xfm.modeling.layers import Embeddings, FeedForward, SelfAttention, initialise_normal
from xfm.modeling.packing import Layout, lay_out


class LanguageLayer(nn.Module):
    """Self-attention, then feed-forward; post-norm after each."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config.width, config.heads, config.dropout, config.norm_eps)
        self.feed_forward = FeedForward(config.width, config.mlp_width, config.dropout, config.norm_eps)

    def forward(self, states: Tensor, bias: Tensor, layout: Layout) -> Tensor:
        """[R, T, D] as `layout` packs it, with a [R, 1, 1, T] bias -> the same shape."""
        return self.feed_forward(self.attention(states, bias, layout))


class LanguageEncoder(nn.Module):
    """Token ids to hidden states."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config, config.dropout, config.norm_eps)
        self.layers = nn.ModuleList(LanguageLayer(config) for _ in range(config.depth))
        initialise_normal(self, config.init_std)

    @property
    def words(self) -> nn.Embedding:
        """The word matrix [V, D], to which the MLM head is tied."""
        return self.embeddings.words

    def copy_words(self, embeddings: Embeddings) -> None:
        """Overwrite all embeddings with this encoder's."""
        embeddings.load_state_dict(self.embeddings.state_dict())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode text.

        Args:
            ids: [R, T] int64.
            mask: [R, T] bool, True at real tokens.

        Returns:
            [R, T, D]; rows of padding mean nothing.
        """
        layout, bias = lay_out(mask, self.training), padding_bias(mask)
        states = layout.pack(self.embeddings(ids))
        for layer in self.layers:
            states = layer(states, bias, layout)
        return layout.unpack(states)
