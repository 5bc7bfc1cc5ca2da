"""How fast, measured: one command a module, interleaved medians against the best-tuned peer in the same run."""

import os

# As the command `indexer` does, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
