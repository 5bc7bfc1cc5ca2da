"""Words to joint embeddings: a tokenizer and the text tower behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import open_clip
import torch
from torch import Tensor
from torch.nn.functional import normalize

from indexer.encoder.attention import shorten_attention
from indexer.encoder.checkpoint import Checkpoint
from indexer.types import Embeddings

TEXTS_AT_A_TIME: Final = 64
"""Encoded in one pass; more of them need no more memory than these."""

_ALIGNMENT: Final = 8
"""Lengths that matrix units like."""

Tokenizer = Callable[[Sequence[str]], Tensor]


class TextTower:
    """The text half of a loaded model, on the model's device."""

    def __init__(self, model: Any, tokenizer: Tokenizer, device: torch.device) -> None:
        shorten_attention(model.text if hasattr(model, "text") else model.transformer)
        self._model = model
        self._tokenizer = tokenizer
        self._device = device
        self._ignores_padding = isinstance(model, open_clip.CLIP) and _ends_at_last_word(model)

    def __call__(self, texts: Sequence[str]) -> Embeddings:
        """Joint embeddings (n, j) float32 of unit length, n >= 1; too long texts are cut at the context length."""
        parts = [self._embedded(texts[at : at + TEXTS_AT_A_TIME]) for at in range(0, len(texts), TEXTS_AT_A_TIME)]
        return np.concatenate(parts)

    def _embedded(self, texts: Sequence[str]) -> Embeddings:
        tokens = self._tokenizer(list(texts))  # (n, context)
        if self._ignores_padding:
            joint = self._encode_unpadded(tokens)
        else:
            joint = self._model.encode_text(tokens.to(self._device))
        embeddings: Embeddings = normalize(joint.float(), dim=-1).cpu().numpy()
        return embeddings

    def _encode_unpadded(self, tokens: Tensor) -> Tensor:
        """What `CLIP.encode_text` computes, over as many tokens as the longest text has, not over the whole context."""
        model = self._model
        ends = tokens.argmax(dim=-1)  # the end mark has the highest number
        length = min(tokens.shape[1], -(-(int(ends.max()) + 1) // _ALIGNMENT) * _ALIGNMENT)
        tokens, ends = tokens[:, :length].to(self._device), ends.to(self._device)
        x = model.token_embedding(tokens) + model.positional_embedding[:length]  # (n, length, width)
        x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
        x = model.ln_final(x[torch.arange(len(x), device=self._device), ends])  # (n, width)
        joint: Tensor = x @ model.text_projection
        return joint


def _ends_at_last_word(model: Any) -> bool:
    """Whether a text is read at its end mark, which sees only what stands before it: then padding has no effect."""
    is_causal = model.text_pool_type == "argmax" and model.attn_mask is not None
    return is_causal and isinstance(model.text_projection, Tensor)


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    """What turns texts into (n, context) tokens for a checkpoint.

    Raises:
        ImportError, OSError: The tokenizer is one of Hugging Face's, and their library or its files are not here.
    """
    config = checkpoint.config["text_cfg"]
    length = config.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    options = config.get("tokenizer_kwargs", {})
    tokenizer: Tokenizer
    if checkpoint.tokenizer:
        mode = config.get("tokenizer_mode")
        tokenizer = open_clip.HFTokenizer(checkpoint.tokenizer, context_length=length, tokenizer_mode=mode, **options)
    else:
        tokenizer = open_clip.SimpleTokenizer(context_length=length, **options)
    return tokenizer
