"""What the tree is: names, records, summaries, and the one writer."""
