"""The one who holds an encoder: gets every picture of a batch its own answer, whatever goes wrong on the device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexer.encoder.batch_size import BatchSize
from indexer.encoder.meter import Meter
from indexer.errors import DeviceFailed, DeviceOutOfMemory, ImageRefused, IndexerError
from indexer.ports import Encoder
from indexer.types import Embeddings, EmbeddingSpace, Matrix, Pixels, Reason

_log = logging.getLogger(__name__)

REOPEN_DELAYS_S: Final = (0.0, 1.0, 5.0)
"""Waits before each try to open an encoder anew."""

REST_S: Final = 15.0
"""How long a device is left alone when those tries have failed, before they are made again."""

OPENING_S: Final = 600.0
"""Opening an encoder may take so much longer than an answer: weights come from slow disks."""

TEXTS_AT_ONCE: Final = 64
"""A device that is asked for more at once may seem to hang: on a CPU thousands take minutes."""

T = TypeVar("T")
Feature: TypeAlias = NDArray[np.float16]
Trouble: TypeAlias = DeviceOutOfMemory | DeviceFailed


@dataclass(frozen=True, slots=True)
class _Work:
    """A run of items to encode together.

    Attributes:
        suspect: The device failed on them, or the single one did not fit.
        second_look: There was no finite feature of the single one.
    """

    span: range
    suspect: bool = False
    second_look: bool = False

    def halves(self) -> tuple[_Work, _Work]:
        middle = len(self.span) // 2
        return _Work(self.span[:middle], self.suspect), _Work(self.span[middle:], self.suspect)


class Owner:
    """Opens an encoder, opens it anew when its device fails, and halves, repeats or singles out what it cannot take.

    Belongs to one thread.
    """

    def __init__(
        self,
        build: Callable[[], Encoder],
        batch: BatchSize,
        meter: Meter,
        *,
        clock: Callable[[], float],
        wait: Callable[[float], object],
        like: Owner | None = None,
    ) -> None:
        """Open the encoder; what `build` raises is raised. Where it must be `like` another, it is opened later.

        Args:
            build: Opens it, now and after its device failed.
            batch: Told of every batch.
            meter: Told of every batch.
            clock: Seconds, monotonic.
            wait: Waits so many seconds, or less when there is a reason to hurry.
            like: Who has an encoder of the same model.
        """
        self._build = build
        self._batch = batch
        self._meter = meter
        self._clock = clock
        self._wait = wait
        self._rest_until = clock()
        self._asked_at: float | None = None  # while the device computes
        self._n_lost = 0  # since anything was encoded
        self._has_left = False
        self.has_tried = False
        """Whether the last call got as far as to an encoder."""
        self.trouble: str | None = None
        """Why there is no encoder now, once it could not be opened anew."""
        self._encoder: Encoder | None = None if like else build()
        known = like or self._encoder
        assert known is not None
        self.space: EmbeddingSpace = known.space
        self.projection: Matrix | None = known.projection
        self.has_text: bool = known.has_text
        self.device: str = "" if like else known.device
        """Empty until the encoder is opened for the first time."""

    def features(self, pictures: Sequence[Pixels], *, may_pass_on: bool = False) -> list[Feature | IndexerError]:
        """For each picture (side, side, 3) its feature (d,), or the error that says why it has none.

        That is `ImageRefused` where the picture is to blame, and `DeviceFailed` for all when the device is lost. Where
        others `may` take them, the first failure is enough for that: nothing is tried again here.
        """

        def encode(encoder: Encoder, span: range) -> list[Feature | None]:
            pixels = np.stack(pictures[span.start : span.stop])
            try:
                rows, seconds = self._asked(lambda: encoder.encode_pixels(pixels))
            except DeviceOutOfMemory:
                self._batch.ran_out(len(span))
                raise
            self._batch.succeeded(len(span), seconds)
            self._meter.add(len(span), seconds)
            return [row if np.isfinite(row).all() else None for row in rows]

        return self._answers(len(pictures), encode, _refused, may_pass_on)

    def embeddings(
        self, requests: Sequence[Sequence[str]], *, may_pass_on: bool = False
    ) -> list[Embeddings | IndexerError]:
        """For each list of texts its embeddings (n, j), or the error that says why it has none; as `features`."""

        def encode(encoder: Encoder, span: range) -> list[Embeddings]:
            together = requests[span.start : span.stop]
            texts = [text for texts in together for text in texts]
            embeddings = []
            for at in range(0, max(1, len(texts)), TEXTS_AT_ONCE):
                part, seconds = self._asked(partial(encoder.encode_texts, texts[at : at + TEXTS_AT_ONCE]))
                self._meter.add(0, seconds)
                embeddings.append(part)
            return np.split(np.concatenate(embeddings), np.cumsum([len(texts) for texts in together])[:-1])

        return self._answers(len(requests), encode, lambda trouble: trouble, may_pass_on)

    def timed(self, pixels: Pixels) -> float | IndexerError:
        """Seconds that one batch (n, side, side, 3) takes, or `DeviceOutOfMemory`, or `DeviceFailed`; tried once."""
        encoder = self._encoder or self._reopened()
        if isinstance(encoder, DeviceFailed):
            return encoder
        try:
            _, seconds = self._asked(lambda: encoder.encode_pixels(pixels))
        except DeviceOutOfMemory as error:
            return error
        except DeviceFailed as error:
            self._lose(error)
            return error
        return seconds

    @property
    def silent_s(self) -> float:
        """Seconds since the device was asked for what it has not answered; 0 where it owes nothing."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else max(0.0, self._clock() - asked_at)

    @property
    def rests_s(self) -> float:
        """Seconds until a lost device is tried again; 0 where there is nothing to wait for."""
        return max(0.0, self._rest_until - self._clock()) if self._encoder is None else 0.0

    @property
    def weights_bytes(self) -> int:
        """Memory on the device that the weights take; 0 without an encoder."""
        encoder = self._encoder
        return encoder.weights_bytes if encoder is not None else 0

    @property
    def is_open(self) -> bool:
        """Whether there is an encoder now."""
        return self._encoder is not None

    @property
    def is_lost(self) -> bool:
        """Whether there is no encoder, and not because it was released."""
        return self._encoder is None and not self._has_left

    def recover(self) -> None:
        """Open an encoder in place of the lost one; where that fails, `rests_s` and `trouble` tell."""
        if self._encoder is None:
            self._reopened()

    def release(self) -> None:
        """Give the device's memory back; the encoder is opened anew for whoever comes next."""
        self.close()
        self._has_left = True
        self._rest_until = self._clock()
        _log.info("The model has left %s until it is needed", self.device)

    def close(self) -> None:
        """Close the encoder; a device that fails at this has nothing left to lose."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            with suppress(IndexerError):
                self._asked(encoder.close)

    def _asked(self, ask: Callable[[], T], patience_s: float = 0.0) -> tuple[T, float]:
        """What the device answers, and after how many seconds; it is silent only when it takes longer than its due."""
        started = self._clock()
        self._asked_at = started + patience_s
        try:
            return ask(), self._clock() - started
        finally:
            self._asked_at = None

    def _answers(
        self,
        n: int,
        encode: Callable[[Encoder, range], Sequence[T | None]],
        refusal: Callable[[Trouble], IndexerError],
        may_pass_on: bool,
    ) -> list[T | IndexerError]:
        answers: dict[int, T | IndexerError] = {}
        todo = [_Work(range(n))]
        self.has_tried = False
        while todo:
            work = todo.pop()
            encoder = self._encoder or self._reopened()
            if isinstance(encoder, DeviceFailed):
                return [answers.get(place, encoder) for place in range(n)]
            self.has_tried = True
            outcome = _tried(encode, encoder, work.span)
            if isinstance(outcome, DeviceFailed) and may_pass_on:
                self._lose(outcome)
                return [answers.get(place, outcome) for place in range(n)]
            if isinstance(outcome, DeviceOutOfMemory | DeviceFailed):
                again = self._after(outcome, work)
                todo.extend(again)
                if not again:
                    answers[work.span.start] = refusal(outcome)
                continue
            self._n_lost = 0
            for place, answer in zip(work.span, outcome, strict=True):
                if answer is not None:
                    answers[place] = answer
                elif work.second_look:
                    answers[place] = ImageRefused(Reason.BAD_FEATURE, "its feature is zero or not finite")
                else:
                    todo.append(_Work(range(place, place + 1), second_look=True))
        return [answers[place] for place in range(n)]

    def _after(self, trouble: Trouble, work: _Work) -> list[_Work]:
        """What to try next; nothing when the trouble is with a single item."""
        if isinstance(trouble, DeviceFailed):
            _log.error("The device failed on a batch of %d: %s", len(work.span), trouble)
            self.close()
        if not work.suspect and (isinstance(trouble, DeviceFailed) or len(work.span) == 1):
            return [replace(work, suspect=True)]
        return list(reversed(work.halves())) if len(work.span) > 1 else []

    def _lose(self, error: DeviceFailed) -> None:
        """Close the encoder; a device that fails again before it has done anything is left alone for a while."""
        _log.error("%s failed, and others go on: %s", self.device, error)
        self.close()
        self._n_lost += 1
        if self._n_lost > 1:
            self._rest_until = self._clock() + REST_S
            self.trouble = f"{self.device} fails again and again: {error}"

    def _reopened(self) -> Encoder | DeviceFailed:
        """A new encoder in place of the one whose device failed."""
        if self.rests_s:
            return DeviceFailed(f"{self.device} is lost; it is tried again within {REST_S:.0f} s")
        last: Exception | None = None
        for delay_s in REOPEN_DELAYS_S:
            self._wait(delay_s)
            try:
                encoder, _ = self._asked(self._build, OPENING_S)
            except Exception as error:  # noqa: BLE001  whatever it is, there is no encoder; the next try may bring one
                last = error
                _log.warning("The encoder could not be opened anew: %s", error)
                continue
            self._encoder = encoder
            if encoder.space == self.space:
                self.device, self.trouble, self._has_left = encoder.device, None, False
                _log.info("The encoder is open on %s", self.device)
                return encoder
            self.close()
            last = DeviceFailed("another model came up in its place; restart the program")
        self._rest_until = self._clock() + REST_S
        self._has_left = False
        self.trouble = f"{self.device or 'a device'} is lost: {last}"
        return DeviceFailed(self.trouble)


def _tried(
    encode: Callable[[Encoder, range], Sequence[T | None]], encoder: Encoder, span: range
) -> Sequence[T | None] | Trouble:
    try:
        return encode(encoder, span)
    except (DeviceOutOfMemory, DeviceFailed) as error:
        # Without its frames, and the memory on the device that they hold.
        return error.with_traceback(None)


def _refused(trouble: Trouble) -> ImageRefused:
    reason = Reason.DEVICE_MEMORY if isinstance(trouble, DeviceOutOfMemory) else Reason.DEVICE_FAILED
    return ImageRefused(reason, str(trouble))
