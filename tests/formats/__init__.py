"""What becomes of every kind of object: judged by the real program, written down in docs/formats.md."""
