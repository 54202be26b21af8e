"""A dialect of somebody else: Countdown in capitals."""

from importlib import resources

from sos.stream.dialect.registry import register_dialect

register_dialect("loud", resources.files("loud") / "loud.yaml", "countdown")
