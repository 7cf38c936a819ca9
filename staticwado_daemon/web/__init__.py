"""What nginx and the embedded server answer, from one table."""
