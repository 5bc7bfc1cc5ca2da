"""Embeddings in the layout that other tools read and write."""
