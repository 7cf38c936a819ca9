"""Adopting a tree that Static DICOMweb wrote: it becomes ours in place, a study at a time, while it is read."""
