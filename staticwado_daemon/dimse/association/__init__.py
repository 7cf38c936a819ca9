"""Associations, below what is said on them: PDUs, messages, and how one is requested."""
