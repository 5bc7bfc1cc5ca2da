"""Words and pictures as vectors. What was asked a moment ago, as paging does, is not encoded again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import numpy as np

from indexer.asker import results
from indexer.errors import ImageRefused, InputError
from indexer.geometry import Geometry
from indexer.ports import Decoder, Embedder
from indexer.types import EmbeddedImage, Embeddings, Matrix, content_hash

T = TypeVar("T")

_N_KEPT = 512


class Embedding:
    """Embeds what a question is made of; safe from any thread."""

    def __init__(self, embedder: Embedder, decoder: Decoder, geometry: Geometry) -> None:
        self._embedder = embedder
        self._decoder = decoder
        self._geometry = geometry
        self._kept: OrderedDict[str | bytes, Matrix] = OrderedDict()
        self._lock = threading.Lock()

    def images(self, images: Sequence[bytes]) -> list[EmbeddedImage]:
        """Features and joint embeddings of pictures' bytes; raises `ImageRefused` for the first that cannot be used."""
        decoding = [self._decoder.decode(data, urgent=True) for data in images]
        decoded = _each(images, decoding)
        features = _each(images, [self._embedder.embed_image(each.pixels, urgent=True) for each in decoded])
        joint = self._geometry.joint(np.stack(features)) if features and self._geometry.has_joint else None
        return [
            EmbeddedImage(content_hash(data).hex(), feature.astype(np.float32), joint[i] if joint is not None else None)
            for i, (data, feature) in enumerate(zip(images, features, strict=True))
        ]

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """Joint embeddings (n, j) of texts; raises `NoTextTower`, and `InputError` for an empty text."""
        if not texts or any(not text.strip() for text in texts):
            raise InputError("a text is empty; say what to look for")
        return results([self._embedder.embed_texts(texts)])[0]

    def asked_texts(self, texts: Sequence[str]) -> list[Matrix]:
        """As `texts`, (j,) each, remembered."""
        return self._remembered(texts, lambda new: list(self.texts(new)))

    def asked_features(self, images: Sequence[bytes]) -> list[Matrix]:
        """The features (d,) of pictures' bytes, remembered; raises `ImageRefused`."""
        data = {bytes(content_hash(each)): each for each in images}
        hashes = list(data)
        found = self._remembered(hashes, lambda new: [each.feature for each in self.images([data[h] for h in new])])
        by_hash = dict(zip(hashes, found, strict=True))
        return [by_hash[bytes(content_hash(each))] for each in images]

    def _remembered(self, keys: Sequence[str | bytes], embed: Callable[[list], list[Matrix]]) -> list[Matrix]:  # type: ignore[type-arg]
        with self._lock:
            known = {key: self._kept[key] for key in keys if key in self._kept}
        new = [key for key in dict.fromkeys(keys) if key not in known]
        if new:
            known.update(zip(new, embed(new), strict=True))
        with self._lock:
            for key in keys:
                self._kept[key] = known[key]
                self._kept.move_to_end(key)
            while len(self._kept) > _N_KEPT:
                self._kept.popitem(last=False)
        return [known[key] for key in keys]


def _each(images: Sequence[bytes], futures: Sequence[Future[T]]) -> list[T]:
    """What they come to; a refusal tells which picture it is of."""
    try:
        return results(futures)
    except ImageRefused as e:
        done = (future for future in zip(images, futures, strict=True) if future[1].done())
        e.hash = next(content_hash(data) for data, future in done if not future.cancelled() and future.exception() is e)
        raise
