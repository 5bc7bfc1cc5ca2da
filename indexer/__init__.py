"""Images in folders become searchable: watching, encoding, indexing."""
