"""C-STORE as SCP: from the network to a complete file in the drop folder."""
