"""Settings of the whole suite."""

from __future__ import annotations

import os

from hypothesis import settings

# Continuous integration repeats one set of examples, so that a change is judged by itself; people's runs explore.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "explore")
