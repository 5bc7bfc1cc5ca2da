"""The index: rows of float16 with ids beside them, searched exactly, and their snapshots on disk."""
