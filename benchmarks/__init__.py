"""How fast, measured: one command a module, interleaved medians against the best-tuned peer in the same run."""
