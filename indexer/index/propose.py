"""Candidates by a float16 matrix product and top-k on a device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from indexer.index.selection import Selection

_GROUP = 32  # neighbouring scores of which at first only the largest is ranked


def by_product(factor: Tensor, n_wanted: int, selection: Selection[Tensor], panel_bytes: int) -> tuple[Tensor, Tensor]:
    """Places and approximate scores (q, n_wanted) of each query's best rows, in no order.

    Args:
        factor: Queries (q, d) float16 on the device. Sums are float32.
        n_wanted: At most `selection.n`.
        selection: Rows (n, d) float16 on the device.
        panel_bytes: Scores held at once.
    """
    places, scores = [], []
    for start, panel in _panels(factor, selection, panel_bytes):
        best = top(panel, min(n_wanted, panel.shape[1]))
        places.append(best[0] + start)
        scores.append(best[1])
    return merged(places, scores, n_wanted)


def merged(places: list[Tensor], scores: list[Tensor], n_wanted: int) -> tuple[Tensor, Tensor]:
    """The best `n_wanted` of several proposals (q, m) each."""
    if len(places) == 1:
        return places[0], scores[0]
    best = torch.cat(scores, 1).topk(n_wanted, 1, sorted=False)
    return torch.cat(places, 1).gather(1, best.indices), best.values


def top(scores: Tensor, n_wanted: int) -> tuple[Tensor, Tensor]:
    """Places and values (q, n_wanted) of the largest scores (q, n), in no order.

    Ranking one of each group first reads the scores once, which `topk` does several times: the largest `n_wanted` lie
    in the groups with the largest `n_wanted` maxima.
    """
    q, n = scores.shape
    n_grouped = n - n % _GROUP
    if n_grouped <= 4 * n_wanted * _GROUP:
        best = scores.topk(n_wanted, 1, sorted=False)
        return best.indices, best.values
    grouped = scores[:, :n_grouped].view(q, -1, _GROUP)
    groups = grouped.amax(2).topk(n_wanted, 1, sorted=False).indices  # (q, n_wanted)
    inside = grouped.take_along_dim(groups[:, :, None], 1).flatten(1)
    where = (groups[:, :, None] * _GROUP + torch.arange(_GROUP, device=scores.device)).flatten(1)
    rest = torch.arange(n_grouped, n, device=scores.device).expand(q, -1)
    return merged([where, rest], [inside, scores[:, n_grouped:]], n_wanted)


def _panels(factor: Tensor, selection: Selection[Tensor], panel_bytes: int) -> Iterator[tuple[int, Tensor]]:
    """(start, scores (q, n)) of consecutive places; each is overwritten by the next."""
    q = len(factor)
    width = min(max(panel_bytes // (4 * q), 1024), selection.n)
    panel = torch.empty(q, width, device=factor.device)
    start = filled = 0
    for lo, hi in selection.spans(width):
        if hi - start > width:
            yield start, panel[:, :filled]
            start = lo
        filled = hi - start
        _multiply(factor, selection.tile(lo, hi), panel[:, lo - start : filled])
    yield start, panel[:, :filled]


def _multiply(factor: Tensor, rows: Tensor, product: Tensor) -> None:
    if factor.is_cuda:  # float16 results would let cuBLAS add float16 partial sums
        torch.mm(factor, rows.T, out_dtype=torch.float32, out=product)
    else:
        product.copy_(factor.float() @ rows.float().T)
