"""What the line costs on this machine: `python -m tests.bench`, or `make bench`."""
