"""Pictures: what a file is, its pixels as the tower wants them, and the children that keep hostile files away."""
