"""Verification: what is stored held against itself and against the files, and what differs mended."""
