"""How a file arrives: found, complete, accounted for."""
