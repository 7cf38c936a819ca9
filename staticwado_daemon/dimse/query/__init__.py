"""C-FIND, both ways."""
