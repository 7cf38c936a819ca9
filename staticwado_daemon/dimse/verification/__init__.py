"""C-ECHO, both ways."""
