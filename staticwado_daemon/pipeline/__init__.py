"""The line itself: one file into blobs and a record, one dirty study into files."""
