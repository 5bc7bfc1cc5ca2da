"""The HTTP service over an indexer engine."""
