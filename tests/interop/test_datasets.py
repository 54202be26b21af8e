"""What an export of a data set says before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from sos.errors import UserError
from sos.interop import datasets


def test_a_missing_package_is_said_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "find_spec", lambda name: None)
    out = tmp_path / "rows.parquet"
    with pytest.raises(UserError, match=f"out={out}: Parquet needs pyarrow"):
        datasets.export_data(tmp_path / "no set", out)
    assert not any(tmp_path.iterdir())
