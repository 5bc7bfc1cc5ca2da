"""The data directory: its layout, and the lock that keeps a second writer out."""
