"""Sweeps as files: which runs they are made of, what is refused, and what a failing run does to the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from omegaconf import OmegaConf
from places import ROOT

from sos.compose import plain_paths
from sos.config import Config
from sos.files import claim, written_whole
from sos.runs.folder import RunFolder
from sos.runs.identity import Identity, identity
from sos.runs.sweep import Job, check_ranks, expand, folder_name, list_failures, shell, unique_names
from sos.runs.sweeper import ArmSweeper
from sos.schema.naming import as_word, quoted, run_name
from sos.schema.slot import ATTEMPT_DOSES

HOME = ROOT / "conf" / "sweep"
SWEEPS = sorted(path.relative_to(HOME).with_suffix("").as_posix() for path in HOME.rglob("*.yaml"))
PLAIN = "; ".join(name for name in SWEEPS if "/" not in name)
SMOKE = ["experiment=smoke", "data.train_tokens=3000", "trainer.probe_every=0", "eval.pass_k=[]", "eval.num_problems=8"]


def train(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "train.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


# --- what a sweep is made of ---


def test_a_sweep_is_the_typed_alternatives_times_arms_times_seeds() -> None:
    arms = {"full": ["stream.view=full"], "path": ["stream.view=solution_path", "data.match=problems"]}
    jobs = expand([["+sweep=x"], ["a=1", "a=2"]], arms, [1, 2])
    assert len(jobs) == len(set(jobs)) == 8
    assert jobs[0] == ("full", ("+sweep=x", "a=1", "stream.view=full", "seed=1"))
    assert jobs[2] == ("path", ("+sweep=x", "a=1", "stream.view=solution_path", "data.match=problems", "seed=1"))
    assert [overrides[-1] for _, overrides in jobs] == ["seed=1"] * 4 + ["seed=2"] * 4
    assert len(expand([["seed=7"]], arms, [1, 2, 3])) == 2
    assert expand([["a=1", "a=2"]], {}, []) == [(None, ("a=1",)), (None, ("a=2",))]


def test_an_arm_and_the_command_line_may_not_disagree() -> None:
    with pytest.raises(ValueError, match=r"stream\.view=full was typed, but arm path decides stream\.view"):
        expand([["stream.view=full"]], {"path": ["stream.view=solution_path"]}, [1])
    for bad in ("stream.view", "hydra.run.dir=x"):
        with pytest.raises(ValueError, match=f"arm path holds '{bad}'"):
            expand([], {"path": [bad]}, [1])


def test_names_show_the_arm_and_what_varies() -> None:
    assert folder_name("full", ["+sweep=x", "a/b=1", "seed=3"]) == "full__a-b-1__seed-3"
    assert folder_name("full", []) == "full"
    assert folder_name(None, ["seed=3", "eval.pass_k=[1,2]"]) == "seed-3__eval.pass_k-1-2"
    assert run_name([]) == run_name(["+sweep=view", "hydra.run.dir=x"]) == "default"
    twice = unique_names([(None, ["data.shards=a/b"]), (None, ["data.shards=a-b"]), (None, ["seed=1"])])
    assert len(set(twice)) == 3
    assert all(name.startswith("data.shards-a-b__") for name in twice[:2])
    assert twice[2] == "seed-1"


def test_long_names_are_cut_with_a_hash_of_all() -> None:
    words = [f"group.some_key_{number}={number}" for number in range(100)]
    names = {run_name(words), run_name([*words, "seed=2"]), run_name(["data.shards=" + "x" * 300])}
    assert len(names) == 3
    assert all(len(name) <= 80 for name in names)
    assert all(name.startswith(("group.some_key_0-0__group.some_key_1-1__", "data.shards-x")) for name in names)


@pytest.mark.parametrize(
    "path", ["a=b", "a,b", "it's", "a b", "$x", "${x}", "[a]", "a\\", "tschüß", "(x)", "a:b", "#a", "~/x"]
)
def test_every_path_can_be_typed_plainly(path: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    for key in ("resume", "+data.shards", "hydra.run.dir"):
        plain = plain_paths([f"{key}={path}"])[0] if path != "a,b" else as_word(key, path)
        for word in (plain, as_word(key, path)):
            value = parser.parse_override(word).value()
            assert getattr(value, "text", value) in (path, path.replace("\\", "\\\\")), word


def test_commands_survive_the_shell_and_the_grammar(tmp_path: Path) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    word = f"k={quoted('a,b=c (d)')}"
    printed = subprocess.run(
        f"printf '%s\n' {shell(word, 'x=[1]', 'p=$HOME')}", shell=True, capture_output=True, text=True
    )
    assert printed.stdout.splitlines() == [word, "x=[1]", "p=$HOME"]
    for text in ("a,b=c (d)", "it's"):
        assert OverridesParser.create().parse_override(f"k={quoted(text)}").value() == text


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_file_asks_a_question_and_composes(name: str, tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir

    from sos.compose import ArmSweeperConf, register, to_object

    content = yaml.safe_load((HOME / f"{name}.yaml").read_text())
    assert content["name"] == name
    assert content["question"].endswith("?")
    assert len(content["seeds"]) >= 3
    assert content["baseline"] in (None, *content["arms"])
    assert content.keys() <= set(ArmSweeperConf.__dataclass_fields__)
    register()
    seen = []
    # Stages begin with a base, which is typed once for all arms.
    stages = any(word.startswith("improve=") for words in content["arms"].values() for word in words)
    (tmp_path / "base.ckpt").write_bytes(b"weights")
    base = f"start={tmp_path / 'base.ckpt'}"
    start = [base] if stages else []
    if any({"improve=distill", "improve=hinted"} & set(words) for words in content["arms"].values()):
        start.append("slot=hint")  # a context is read
    if any(word.endswith(ATTEMPT_DOSES) for words in content["arms"].values() for word in words):
        start.append("slot.kinds=[hint,attempt]")
    assert not stages or len(content["seeds"]) >= 5
    later = list(content.get("stages", {}).values())  # each begins with a run of this sweep
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for words in [*([*start, *arm] for arm in content["arms"].values()), *([base, *arm] for arm in later)]:
            seen.append(to_object(compose("config", words), words))
        found = compose("config", [f"+sweep={name}", *start], return_hydra_config=True).hydra.sweeper
    assert all(a != b for i, a in enumerate(seen) for b in seen[:i])
    assert all(config.improve.gate == (0.2 if stages and config.improve.on else 0) for config in seen)
    assert (found.name, list(found.arms)) == (name, list(content["arms"]))


@pytest.mark.parametrize(
    ("preset", "overrides", "expected"),
    [
        ("slurm_cpu", [], {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": None}),
        ("slurm_gpu", ["trainer=gpu"], {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 1}),
        ("slurm_node", ["trainer=ddp", "trainer.devices=8"], {"nodes": 1, "tasks_per_node": 8, "gpus_per_node": 8}),
        (
            "slurm_nodes",
            ["trainer=fsdp", "trainer.devices=4", "trainer.num_nodes=3"],
            {"nodes": 3, "tasks_per_node": 4},
        ),
        ("parallel", [], {"n_jobs": 2}),
    ],
)
def test_launcher_presets_start_what_the_trainer_needs(preset: str, overrides: list[str], expected: dict) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf, open_dict, read_write

    from sos.compose import register, to_object

    plugin = "joblib" if preset == "parallel" else "submitit"
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher")
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose("config", [f"hydra/launcher={preset}", *overrides], return_hydra_config=True)
    launcher = composed.hydra.launcher
    assert {key: launcher[key] for key in expected} == expected
    if plugin == "submitit":
        assert launcher["signal_delay_s"] >= 60
        assert launcher["max_num_timeout"] > 0
        assert launcher["mem_gb"]
        with read_write(composed), open_dict(composed):
            target = OmegaConf.to_container(launcher, resolve=True)
            del composed["hydra"]
        check_ranks(to_object(composed), target)


def test_several_processes_need_a_launcher_that_starts_them() -> None:
    one, two = Config(), Config()
    two.trainer.devices = 2
    slurm = {"_target_": "hydra_plugins.x.SlurmLauncher", "tasks_per_node": 2, "nodes": 1}
    check_ranks(one, {"_target_": "hydra_plugins.x.BasicLauncher"})
    check_ranks(two, slurm)
    for config, launcher in ((two, {"_target_": "BasicLauncher"}), (two, slurm | {"nodes": 2}), (one, slurm)):
        with pytest.raises(ValueError, match="device"):
            check_ranks(config, launcher)


# --- folders ---


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    with claim(tmp_path / "a", "run"):
        with (
            pytest.raises(ValueError, match=f"another run is writing into {tmp_path / 'a'} .process"),
            claim(tmp_path / "a", "run"),
        ):
            pass
        with claim(tmp_path / "b", "run"):
            pass
    with claim(tmp_path / "a", "run"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write into"), claim(tmp_path / "file" / "x", "run"):
        pass


def test_results_and_attempts_count_for_their_own_config_code_and_dialect_only(tmp_path: Path) -> None:
    folder, this = RunFolder(tmp_path), Identity("c", "d", "e")
    others = [this._replace(**{key: "other"}) for key in this._fields]
    assert not folder.is_finished(this)
    folder.checkpoint.parent.mkdir()
    folder.checkpoint.write_text("")
    folder.provenance.write_text(json.dumps(this._asdict()))
    assert folder.unfinished_checkpoint(this) == tmp_path / "checkpoints" / "last.ckpt"
    assert [folder.unfinished_checkpoint(other) for other in others] == [None] * 3
    folder.metrics.write_text(json.dumps({"config_hash": "c", "code_hash": "d"}))
    assert folder.is_finished(this)
    assert [folder.is_finished(other) for other in others] == [False] * 3
    assert folder.unfinished_checkpoint(this) is None
    for content in ('{"config_hash": "c"', "[]", "null"):
        folder.metrics.write_text(content)
        assert not folder.is_finished(this)


def test_what_another_run_left_is_moved_aside_not_lost(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.set_aside() is None
    for number in range(2):
        for name in ("provenance.json", "metrics.json", "events.out.tfevents.1", "train.log", "config.yaml"):
            (tmp_path / name).write_text(str(number))
        assert folder.set_aside() == tmp_path / ".earlier" / str(number)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".earlier", "config.yaml", "train.log"]
    assert (tmp_path / ".earlier" / "1" / "metrics.json").read_text() == "1"


def test_a_checkpoint_that_is_continued_stays_and_is_kept_with_the_result_of_its_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoint.parent.mkdir()
    for path in (folder.checkpoint, folder.metrics):
        path.write_text("old")
    home = folder.set_aside(kept=folder.checkpoint)
    assert home is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == [".earlier", "checkpoints"]
    assert sorted(path.name for path in home.iterdir()) == ["checkpoints", "metrics.json"]
    with written_whole(folder.checkpoint) as partial:  # as training replaces it
        partial.write_text("new")
    assert (home / "checkpoints" / "last.ckpt").read_text() == "old"


def test_failed_jobs_are_listed_with_reason_and_command(tmp_path: Path) -> None:
    jobs = [Job((f"seed={seed}",), "full", tmp_path / f"full,seed={seed}", Config(seed=seed)) for seed in range(4)]
    for job in jobs[1:]:
        job.folder.mkdir()
        (job.folder / "config.yaml").write_text("")
    for path in (RunFolder(jobs[1].folder).provenance, RunFolder(jobs[1].folder).metrics):
        path.write_text(json.dumps(identity(jobs[1].config)._asdict()))
    RunFolder(jobs[2].folder).record_failure(ValueError("data.context=16:\nnothing fits"))
    text = "\n".join(list_failures(jobs, "job 3 was cancelled"))
    assert text.startswith("3 of 4 runs failed:\n- full,seed=0: never started\n")
    assert "full,seed=1" not in text
    assert "- full,seed=2: data.context=16: nothing fits\n" in text
    assert "- full,seed=3: ended without a reason" in text
    assert f"""python train.py seed=3 hydra.sweeper.arm=full "hydra.run.dir='{jobs[3].folder}'\"""" in text
    assert "the launcher said: job 3 was cancelled" in text
    assert list_failures(jobs[1:2]) == []
    RunFolder(tmp_path).record_failure(RuntimeError("CUDA out of memory"))
    assert RunFolder(tmp_path).failure_reason() == "RuntimeError: CUDA out of memory"


# --- the command line ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-m", "+sweep=nope"],
            "Could not find 'sweep/nope'; Available options in 'sweep': "
            + "; ".join(n for n in SWEEPS if "/" not in n),
        ),
        (["+sweep=view"], "+sweep=view is a sweep: python train.py -m +sweep=view"),
        (["-m", "+sweep=view", "data.context=3"], "solution_path__seed-1: data.context must be at least 16, got 3"),
        (
            ["-m", "+sweep=view", 'hydra.sweeper.expect=["full > paths"]'],
            "sweep: expect holds 'full > paths': paths is no arm; there are solution_path, full, no_backtrack",
        ),
        (  # an arm that is left out may be expected something of
            [
                *("-m", "+sweep=view", "~hydra.sweeper.arms.full", "data.context=3"),
                'hydra.sweeper.expect=["full > solution_path"]',
            ],
            "solution_path__seed-1: data.context must be at least 16, got 3",
        ),
        (
            ["-m", "+sweep=seed/answer", "data.context=3", 'hydra.sweeper.expect=["whole_roc > whole_rock"]'],
            "sweep: expect holds 'whole_roc > whole_rock': whole_rock is no arm; there are successes, raw_failures,",
        ),
        (["-m", "+sweep=view,size"], "one sweep at a time: +sweep=NAME"),
        (["-m", "seed=1,2", "trainer=ddp"], "trainer.devices=2 trainer.num_nodes=1 in a sweep needs a launcher"),
    ],
)
def test_bad_sweeps_are_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = train(*arguments, f"hydra.sweep.dir={tmp_path}", f"hydra.run.dir={tmp_path}")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"error: {message}")
    assert not list(tmp_path.rglob("checkpoints"))


HIDE = """
import pkgutil
walk = pkgutil.walk_packages
def without_launchers(*args, **options):
    return (found for found in walk(*args, **options) if "_launcher" not in found[1] or "basic" in found[1])
pkgutil.walk_packages = without_launchers
"""


@pytest.mark.parametrize(
    ("launcher", "extra"), [("parallel", "joblib"), ("slurm_gpu", "slurm"), ("submitit_local", "slurm")]
)
def test_a_launcher_that_is_not_installed_names_the_extra(launcher: str, extra: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [
        sys.executable,
        "train.py",
        "-m",
        "+sweep=view",
        f"hydra/launcher={launcher}",
        f"hydra.sweep.dir={tmp_path}",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, env=env)
    assert result.returncode == 2, result.stderr[-2000:]
    assert result.stderr.count("\n") == 1
    assert "launcher is not installed" in result.stderr
    assert f'pip install -e ".[{extra}]"' in result.stderr


def test_a_mistyped_launcher_is_not_taken_for_a_missing_one() -> None:
    result = train("-m", "+sweep=view", "hydra/launcher=slurm")
    assert result.returncode == 2
    assert "Could not find 'hydra/launcher/slurm'; Available options in 'hydra/launcher': basic;" in result.stderr
    assert "pip install" not in result.stderr


def test_an_interrupted_sweep_says_what_is_kept_and_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(done: bool) -> SimpleNamespace:
        return SimpleNamespace(config=None, folder=tmp_path / str(done), is_finished=lambda: done)

    def launch(commands: list[list[str]], initial_job_idx: int) -> None:
        assert commands == [["two"], ["three"]]
        raise KeyboardInterrupt("continue with: resume=somewhere")

    sweeper = ArmSweeper.__new__(ArmSweeper)  # Hydra makes it, and loads its base anew
    sweeper.sweep_file, sweeper.max_batch_size = {"name": None, "arms": {}}, None
    sweeper.config = OmegaConf.create({"hydra": {"launcher": {}, "sweep": {"dir": str(tmp_path)}}})
    sweeper.hydra_context, sweeper.launcher = SimpleNamespace(), SimpleNamespace(launch=launch)
    jobs = [job(done) for done in (True, False, False)]
    monkeypatch.setattr(sweeper, "_jobs", lambda arguments: (jobs, [["one"], ["two"], ["three"]], []))
    monkeypatch.setattr("sos.runs.sweep.check_ranks", lambda config, launcher: None)
    with pytest.raises(KeyboardInterrupt) as stopped:
        sweeper.sweep([])
    assert str(stopped.value) == "interrupted: 1 of 3 runs are finished; the same sweep command goes on"
    assert not (tmp_path / ".lock").exists()


@pytest.mark.slow
def test_a_failing_run_ends_neither_the_sweep_nor_the_comparison(tmp_path: Path) -> None:
    """One arm cannot fit its streams; the others run, run once, and a change of the command is refused."""
    home = tmp_path / "sweep"
    sweep = ["-m", "+sweep=redundant", *SMOKE, f"hydra.sweep.dir={home}", "seed=1"]
    first = train(*sweep, "data.context=64,16")
    assert first.returncode == 1, first.stderr[-3000:]
    assert "3 of 6 runs failed:" in first.stderr
    assert (
        "- full__data.context-16__seed-1: data.context=16: no stream of the first 128 visits fits into it"
        in first.stderr
    )
    assert "solution_path" in (home / "comparison.md").read_text()
    done = sorted(home.glob("*context-64*/metrics.json"))
    before = [path.stat().st_mtime_ns for path in done]
    assert len(done) == 3

    alone = next(line for line in first.stderr.splitlines() if "hydra.sweeper.arm=full" in line)
    alone = (
        alone.replace("python", sys.executable, 1)
        .replace("context=16", "context=72")
        .replace("context-16", "context-72")
    )
    result = subprocess.run(alone, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-3000:]
    record = json.loads((home / "full__data.context-72__seed-1" / "provenance.json").read_text())
    assert record["sweep"]["arm"] == "full"

    with claim(home, "sweep"):
        second = train(*sweep, "data.context=64")
    assert second.returncode == 2
    assert "another sweep is writing into" in second.stderr
    third = train(*sweep, "data.context=64")
    assert third.returncode == 2
    assert "choose another hydra.sweep.dir" in third.stderr
    fourth = train(*sweep, "data.context=64,72", "hydra/launcher=basic")
    assert fourth.returncode == 0, fourth.stderr[-3000:]
    assert "4 of 6 runs are finished already" in fourth.stdout
    assert [path.stat().st_mtime_ns for path in done] == before
