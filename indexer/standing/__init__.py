"""Questions that stand: what becomes searchable is held against them."""
