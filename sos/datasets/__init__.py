"""Data sets on disk: made by workers, read again, verified; and files of traces."""
