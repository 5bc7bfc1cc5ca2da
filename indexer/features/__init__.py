"""The feature cache: what was encoded once, on diskcache."""
