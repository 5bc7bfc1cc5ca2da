"""How many cores torch computes on, thread by thread."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import torch


def cores_each(n: int) -> Callable[[], None]:
    """What a thread calls to make torch use n cores for it.

    Torch takes that number for the default of threads to come as well, so another thread sets the default again.
    """
    elsewhere = torch.get_num_threads()

    def prepare() -> None:
        torch.get_num_threads()  # at its first work a thread takes the default, whatever it was told before
        torch.set_num_threads(n)
        other = Thread(target=torch.set_num_threads, args=(elsewhere,))
        other.start()
        other.join()

    return prepare
