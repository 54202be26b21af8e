"""The verbs of the command line, one module each; what they do is done in the rooms below."""
