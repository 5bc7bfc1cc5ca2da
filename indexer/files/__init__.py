"""The user's files, read safely: nothing here writes to them."""
