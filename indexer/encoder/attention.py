"""Self-attention by the shortest way, whose kernel can be chosen."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class SelfAttention(nn.Module):
    """Takes the place of an `nn.MultiheadAttention` with its weights; goes through `scaled_dot_product_attention`.

    PyTorch's module has a fast path of its own that picks a kernel without asking, and a slow one for masked attention
    that copies its weights for every text. For inference only: no dropout.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.in_proj = nn.Linear(attention.embed_dim, 3 * attention.embed_dim, device="meta")
        self.in_proj.weight, self.in_proj.bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = attention.out_proj
        self.n_heads = attention.num_heads
        self.head_width = attention.head_dim

    def forward(
        self, query: Tensor, _key: Tensor, _value: Tensor, *, attn_mask: Tensor | None = None, **_options: bool
    ) -> tuple[Tensor, None]:
        """Attention of `query` (n, tokens, width) over itself; key and value are the same tensor, and ignored."""
        n, n_tokens, width = query.shape
        split = self.in_proj(query).view(n, n_tokens, 3, self.n_heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # each (n, heads, tokens, head width)
        if attn_mask is not None and attn_mask.ndim == 3:  # one mask for each text and head
            attn_mask = attn_mask.view(n, self.n_heads, n_tokens, n_tokens)
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.out_proj(mixed.transpose(1, 2).reshape(n, n_tokens, width)), None


def shorten_attention(tower: nn.Module) -> list[SelfAttention]:
    """Replace every attention in a tower's residual blocks, in place, and return the new ones."""
    replaced = []
    for block in tower.modules():
        attention = getattr(block, "attn", None)
        if isinstance(attention, nn.MultiheadAttention) and hasattr(block, "ln_1"):
            block.attn = SelfAttention(attention)
            replaced.append(block.attn)
    return replaced
