"""Search environments: what they offer (`protocol`), the known ones (`registry`), and a room for each."""
