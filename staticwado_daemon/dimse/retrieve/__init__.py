"""C-GET and C-MOVE as SCP."""
