"""Scenes: drawn pictures with captions, for the demo, the demo model and the tests."""

from indexer.scenes.phrase import Mention, Phrase
from indexer.scenes.scene import Scene, random_scene
from indexer.scenes.thing import Thing
from indexer.scenes.writing import write_scenes

__all__ = ["Mention", "Phrase", "Scene", "Thing", "random_scene", "write_scenes"]
