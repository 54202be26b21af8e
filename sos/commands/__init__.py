"""The verbs of the command line, one module each, under sixty lines: the work is done in the rooms below."""
