"""A run whose streams end with plans: trained, evaluated, read back and compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sizes import INTERPRETED

from sos.analysis.compare import compare, load_runs
from sos.analysis.figures import arms_figure
from sos.analysis.paired import paired_tests
from sos.analysis.tables import markdown
from sos.compose import compose
from sos.runs.provenance import Origin
from sos.train import pretrain
from sos.view.sources import from_models

TINY = ["experiment=smoke", "data.train_tokens=12000", "eval.num_problems=8", "eval.pass_k=[2]", "trainer.log_every=1"]


@pytest.mark.skipif(INTERPRETED, reason="trains")
def test_runs_with_plans_are_evaluated_and_compared_by_them(tmp_path: Path) -> None:
    for view in ("full", "swapped"):
        overrides = {"stream.view": view, "stream.plan": "true"}
        config = compose([*TINY, *(f"{key}={value}" for key, value in overrides.items())])
        found = pretrain.pretrain(config, tmp_path / view, Origin(view, overrides))
        assert found is not None
        table = found.table()
        assert "planned  " in table
        assert "planned@2" in table
        metrics = json.loads((tmp_path / view / "metrics.json").read_text())["metrics"]
        assert {"plan/val", "plan_pass@2/val"} <= set(metrics)
        with np.load(tmp_path / view / "rollouts_val.npz") as arrays:
            assert arrays["planned"].mean() == metrics["plan/val"]["value"]
    (_, _, rollout), (_, _, teacher) = from_models({"rollout": str(tmp_path / "swapped")}, [])
    assert "model" in rollout.title
    assert teacher.verdict.planned  # of the problem's own search
    comparison = compare(load_runs([tmp_path]), ["plan/val", "solve/val"])
    assert comparison.columns == ("plan/val", "solve/val")
    assert "| paired, plan/val" in markdown(comparison)
    assert paired_tests(comparison, "plan/val")[0].num_problems == 8
    titles = [axes.get_xlabel() for axes in arms_figure(comparison).axes]
    assert titles == ["right plans, % of problems", "solved, % of problems"]
