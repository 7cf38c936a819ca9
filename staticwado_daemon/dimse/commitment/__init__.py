"""Storage commitment as SCP."""
