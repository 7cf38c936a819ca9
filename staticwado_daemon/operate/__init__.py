"""Looking after the archive: what it holds, and getting it back."""
