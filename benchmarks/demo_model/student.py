"""The demo model while it learns, and what it is told when it is wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel


class Student(nn.Module):
    """An open_clip model with a vocabulary of known words only, and with hints.

    Token 0, a vector that stays zero, stands for every word that no caption holds: what the model has never seen says
    nothing to it. The hints are a linear layer on the visual feature that names what is in the picture: a second
    lesson for the tower, which is not shipped.
    """

    def __init__(self, model: Any, known_tokens: torch.Tensor, n_hints: int) -> None:
        super().__init__()
        self.known_tokens = known_tokens
        self.n_vocabulary = model.vocab_size
        model.token_embedding = nn.Embedding(len(known_tokens), model.token_embedding.embedding_dim, padding_idx=0)
        nn.init.normal_(model.token_embedding.weight[1:], std=0.02)
        self.projection = nn.Parameter(model.visual.proj.detach().clone())
        model.visual.proj = None
        self.model = model
        self.hints = nn.Linear(self.projection.shape[0], n_hints)

    def forward(self, images: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the logits of every text for every image (t, b), and of every hint for every image (b, h)."""
        # On a CPU the flash kernel's backward pass is slower than plain products where tokens are so few.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            features = self.model.visual(images).float()
        image_vectors = functional.normalize(features @ self.projection, dim=-1)
        # The text tower is so narrow that BF16 costs more in conversions than it saves.
        text_vectors = functional.normalize(self._encode_text(tokens), dim=-1)
        scale = self.model.logit_scale.exp().clamp(max=100)
        return scale * text_vectors @ image_vectors.T, self.hints(features)

    def _encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Does what open_clip's `encode_text` does, without the columns that are padding in every text."""
        ends = tokens.argmax(1)
        length = int(ends.max()) + 1
        x = self.model.token_embedding(tokens[:, :length]) + self.model.positional_embedding[:length]
        x = self.model.ln_final(self.model.transformer(x, attn_mask=self.model.attn_mask[:length, :length]))
        vectors: torch.Tensor = x[torch.arange(len(x)), ends] @ self.model.text_projection
        return vectors

    def shipped_weights(self) -> dict[str, torch.Tensor]:
        """Returns the weights as open_clip names them, in FP16, with the whole vocabulary."""
        weights = {name: tensor.detach() for name, tensor in self.model.state_dict().items()}
        known = weights["token_embedding.weight"]
        table = torch.zeros(self.n_vocabulary, known.shape[1])
        table[self.known_tokens[1:]] = known[1:]
        weights["token_embedding.weight"] = table
        weights["visual.proj"] = self.projection.detach()
        return {name: tensor.half().contiguous() for name, tensor in weights.items()}


def contrastive_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross entropy both ways, where a text may be true of several images and an image have several texts.

    Args:
        logits: of every text for every image, (t, b).
        truth: 1 where the text is true of the image, else 0, (t, b); no row and no column is all 0.
    """
    by_text = truth / truth.sum(1, keepdim=True)
    by_image = (truth / truth.sum(0, keepdim=True)).T
    return (functional.cross_entropy(logits, by_text) + functional.cross_entropy(logits.T, by_image)) / 2


def hint_loss(logits: torch.Tensor, hints: dict[str, torch.Tensor], weights: dict[str, float]) -> torch.Tensor:
    """Binary cross entropy of the hints of each attribute (b, values), weighted by attribute (1 where not given)."""
    parts = logits.split([hint.shape[1] for hint in hints.values()], dim=1)  # type: ignore[no-untyped-call]
    losses = [
        weights.get(name, 1.0) * functional.binary_cross_entropy_with_logits(part, hint)
        for part, (name, hint) in zip(parts, hints.items(), strict=True)
    ]
    return torch.stack(losses).sum()
