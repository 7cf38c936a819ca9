"""What became of a file, or what a UID stands for: from the journal, the tree and the folders, reading only.

Only the study in question is read, never the whole tree; a daemon may be at work meanwhile.
"""
