"""How the demo model is trained and measured."""
