"""Our node as others call it: who may associate, connections, what is counted."""
