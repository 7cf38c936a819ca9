"""C-STORE as SCU: from the archive to a peer."""
