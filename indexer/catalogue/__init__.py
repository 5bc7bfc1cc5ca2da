"""The catalogue: path -> stamp -> content, on SQLite."""
