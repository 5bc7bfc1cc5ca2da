"""The river: from a dirty path to a searchable row."""
