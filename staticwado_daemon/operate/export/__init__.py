"""Getting the original files back: into a folder, a zip archive or onto a medium, each compared with its digest."""
