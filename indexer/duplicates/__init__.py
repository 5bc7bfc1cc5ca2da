"""Pictures that are there more than once: the same picture in other bytes, and scenes that are alike."""
