"""C-GET and C-MOVE as SCU: what we lack is fetched."""
