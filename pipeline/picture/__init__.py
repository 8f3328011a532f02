"""One picture: its colours, sizes and turns, and cells in its planes, read, measured and painted."""
