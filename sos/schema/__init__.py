"""What a key of a config is: its default, its sentence, its range, and who uses it."""
