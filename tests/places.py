"""Where the tests find the repository, the golden files and, beside the repository, the published code's data."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
GOLDEN = ROOT / "tests" / "golden"
REFERENCE = ROOT.parent / "shared" / "reference"
