"""The way out: a question becomes an aim, rows are ranked by it, and what is alive and wanted is answered."""
