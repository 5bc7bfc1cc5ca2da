"""The devices that the configuration names, and the lane with an encoder for each of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from indexer.config import Config
from indexer.ports import Encoder
from indexer.recommend import Machine

if TYPE_CHECKING:
    from indexer.encoder.device import Placement
    from indexer.encoder.lane import EncoderLane
    from indexer.encoder.worker import Slot

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Devices:
    """Where encoders may run, one place for each: a device comes several times when it may hold several.

    Attributes:
        n_least: How many of the places are always in use, the first ones.
    """

    places: tuple[Placement, ...]
    n_least: int

    @property
    def names(self) -> tuple[str, ...]:
        """Each device once, as torch names it."""
        return tuple(dict.fromkeys(str(place.device) for place in self.places))

    def machines(self, n_cores: int) -> list[Machine]:
        """What each place has to offer: encoders on one device share its memory."""
        n_on = Counter(place.device for place in self.places)
        return [machine_at(place, n_cores, n_on[place.device]) for place in self.places]

    def roomiest(self) -> str:
        """The device with most memory free, the first of several; a GPU rather than the CPU. The index goes there."""
        from indexer.encoder.memory import free_bytes

        if len(self.names) == 1:
            return self.names[0]
        best = max(self.places, key=lambda place: (place.device.type == "cuda", free_bytes(place.device)))
        return str(best.device)


def devices_of(config: Config) -> Devices:
    """What the configuration leads to on this machine. Raises `ConfigError`."""
    from indexer.encoder.device import place_all

    named = place_all(config.model.devices, config.model.precision)
    least, most = config.model.min_replicas, config.model.max_replicas
    n_most = most if most != "auto" else max(len(named), 0 if least == "auto" else least)
    n_least = least if least != "auto" else min(len(named), n_most)
    return Devices(tuple(named[i % len(named)] for i in range(n_most)), n_least)


def machine_at(place: Placement, n_cores: int, n_sharing: int = 1) -> Machine:
    """The device of a place, shared by so many encoders."""
    from indexer.encoder.memory import device_name, total_bytes

    kind = "cuda" if place.device.type == "cuda" else "cpu"
    memory_bytes = total_bytes(place.device) // n_sharing
    return Machine(kind, memory_bytes, place.precision, n_cores, device_name(place.device))  # type: ignore[arg-type]  # mypy widens


def open_lane(
    devices: Devices, build: Callable[[str], Encoder], *, n_cores: int, max_bulk: int, idle_release_s: float
) -> EncoderLane:
    """Open the encoders behind one queue; `build` opens one on the device that it is told."""
    from indexer.encoder.lane import EncoderLane

    on_cpu = sum(place.device.type == "cpu" for place in devices.places)
    # Encoders that divided every step among all cores would wait for each other at each of them.
    n_each = max(1, n_cores // on_cpu) if on_cpu > 1 else None
    if len(devices.places) > 1:
        logger.info("%d to %d encoders on %s", devices.n_least, len(devices.places), ", ".join(devices.names))
    return EncoderLane(
        *(_slot(place, build, n_each) for place in devices.places),
        batch_size=1,
        least=devices.n_least,
        max_bulk=max_bulk,
        idle_release_s=idle_release_s,
    )


def _slot(place: Placement, build: Callable[[str], Encoder], n_threads: int | None) -> Slot:
    from indexer.encoder.memory import device_name, has_room
    from indexer.encoder.threads import cores_each
    from indexer.encoder.worker import Slot

    device, room, kind = str(place.device), partial(has_room, place.device), device_name(place.device)
    if place.device.type == "cuda" or n_threads is None:
        return Slot(partial(build, device), device, room, kind)
    prepare = cores_each(n_threads)

    def prepared() -> Encoder:
        prepare()
        return build(device)

    return Slot(prepared, device, room, kind)
