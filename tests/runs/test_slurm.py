"""Launchers: the same sweep by four of them, jobs and a data set that are pre-empted, on a one-node Slurm of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from places import ROOT

HERE = Path(__file__).parent / "slurm"
SMOKE = ["experiment=smoke", "trainer.probe_every=0", "eval.pass_k=[]", "eval.num_problems=8"]
# The stand-in for sacct: there is no accounting database, and without an answer submitit waits for ever.
ENV = os.environ | {"PATH": f"{HERE}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.slow


def plugin(name: str) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{name}_launcher", reason=f"hydra-{name}-launcher is not installed")


@pytest.fixture(scope="module")
def slurm() -> None:
    """A running Slurm; skips where there is none and none can be brought up."""
    plugin("submitit")
    missing = [name for name in ("sbatch", "slurmctld", "slurmd", "munged") if not shutil.which(name)]
    if missing:
        pytest.skip(f"no Slurm here: {', '.join(missing)} missing (apt-get install slurm-wlm munge)")
    if subprocess.run(["sinfo"], capture_output=True, timeout=60).returncode == 0:
        return
    if os.geteuid() != 0:
        pytest.skip("no Slurm is running here, and bringing one up takes root")
    up = subprocess.run([str(HERE / "up.sh")], capture_output=True, text=True, timeout=120)
    assert up.returncode == 0, up.stderr


def command(*arguments: str) -> list[str]:
    return [sys.executable, "train.py", *arguments, *SMOKE]


def results(home: Path) -> dict[str, Any]:
    """Return what the runs of a sweep measured and learned, without times and folders."""
    found = {}
    for path in sorted(home.glob("*/metrics.json")):
        content = json.loads(path.read_text())
        train = {key: value for key, value in content["train"].items() if "seconds" not in key}
        weights = torch.load(path.parent / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        sums = {key: tensor.double().sum().item() for key, tensor in weights.items()}
        found[path.parent.name] = (content["metrics"], content["budget_curve"], content["config_hash"], train, sums)
    return found


@pytest.fixture(scope="module")
def by_launcher() -> dict[str, Path]:
    """Homes of finished sweeps by launcher; the tests fill it."""
    return {}


# Each in another order; a process for every run takes long to start, so that submitit's local executor gets two of the six.
LAUNCHERS = {
    "basic": ["hydra/launcher=basic", "seed=1,2,3", "stream.view=full,solution_path"],
    "joblib": ["hydra/launcher=parallel", "stream.view=full,solution_path", "seed=3,2,1"],
    "local": ["hydra/launcher=submitit_local", "stream.view=solution_path,full", "seed=2"],
    "slurm": ["hydra/launcher=slurm_cpu", "seed=3,1,2", "stream.view=solution_path,full"],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_gives_the_same_results(
    launcher: str, by_launcher: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if launcher == "slurm":
        request.getfixturevalue("slurm")
    elif launcher != "basic":
        plugin("joblib" if launcher == "joblib" else "submitit")
    arguments = ["-m", "data.train_tokens=3000", *LAUNCHERS[launcher], f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, env=ENV, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    by_launcher[launcher] = tmp_path / "sweep"
    found = results(tmp_path / "sweep")
    assert len(found) == (2 if launcher == "local" else 6)
    assert len({json.dumps(run[4]) for run in found.values()}) == len(found)  # they are different models
    assert (tmp_path / "sweep" / "comparison.md").is_file()
    for other in by_launcher.values():
        theirs = results(other)
        shared = found.keys() & theirs.keys()
        assert len(shared) >= 2
        assert {name: found[name] for name in shared} == {name: theirs[name] for name in shared}


def jobs() -> list[str]:
    return subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, check=True).stdout.split()


def begin_again(job: str, deadline: float) -> None:
    """Let a job that was put back begin at once: Slurm holds it for two minutes."""
    while time.time() < deadline:
        state = subprocess.run(["squeue", "-h", "-j", job, "-o", "%T"], capture_output=True, text=True).stdout.strip()
        if state == "PENDING":
            time.sleep(3)  # Slurm kills a job that begins again in the second it was put back: "credential revoked"
            subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], check=True)
            return
        time.sleep(0.2)
    pytest.fail(f"job {job} is not pending but {state!r}")


def preempt(job: str, folder: Path, times: int) -> None:
    """Wait for a checkpoint of this attempt, send the signal, and let the job begin again at once."""
    checkpoint = folder / "checkpoints" / "last.ckpt"
    log = folder / "train.log"
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    deadline = time.time() + 900
    while time.time() < deadline:
        if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
            break
        time.sleep(0.01)
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    while time.time() < deadline:
        if log.read_text().count("asking Slurm to run this job again") == times:
            break
        time.sleep(0.1)
    else:
        pytest.fail(log.read_text())
    begin_again(job, deadline)


# Slow enough that the signals land in mid-training.
LONG = ["data.train_tokens=150000", "trainer.checkpoint_every=6", "trainer.log_every=1"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that the jobs must end like, in one process and left alone."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    done = subprocess.run(
        command(*LONG, f"hydra.run.dir={folder}"), cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def preempted(folder: Path, times: int, *overrides: str) -> None:
    """Run one Slurm job in `folder` and pre-empt it so many times."""
    earlier = set(jobs())
    where = [f"hydra.sweep.dir={folder.parent}", f"hydra.sweep.subdir={folder.name}"]
    arguments = command("-m", *LONG, "hydra/launcher=slurm_cpu", *overrides, *where)
    out = folder.parent / "out"
    with out.open("w") as file:
        process = subprocess.Popen(arguments, cwd=ROOT, env=ENV, stdout=file, stderr=file)
        while not (mine := set(jobs()) - earlier) and process.poll() is None:
            time.sleep(0.1)
        (job,) = mine
        for number in range(times):
            preempt(job, folder, number + 1)
        assert process.wait(timeout=900) == 0, out.read_text()[-3000:]


def last_checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def test_a_job_that_is_preempted_twice_ends_with_the_weights_of_one_left_alone(
    slurm: None, alone: Path, tmp_path: Path
) -> None:
    preempted(tmp_path / "twice", 2)
    assert (tmp_path / "twice" / "train.log").read_text().count("continuing an earlier attempt") == 2
    one, two = last_checkpoint(alone), last_checkpoint(tmp_path / "twice")
    assert one["global_step"] == two["global_step"]
    assert one["state_dict"].keys() == two["state_dict"].keys()
    assert all(torch.equal(tensor, two["state_dict"][key]) for key, tensor in one["state_dict"].items())
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (alone, tmp_path / "twice"))
    assert first["metrics"] == second["metrics"]
    assert first["train"]["tokens"] == second["train"]["tokens"]


def test_two_tasks_of_a_job_stop_at_the_same_step_and_go_on(slurm: None, alone: Path, tmp_path: Path) -> None:
    """DDP on two CPU tasks that Slurm started: the weights of one process but for rounding."""
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.batch_tokens=2048"]
    preempted(tmp_path / "two", 1, *ranks, "hydra.launcher.tasks_per_node=2", "hydra.launcher.mem_gb=3")
    one, two = last_checkpoint(alone), last_checkpoint(tmp_path / "two")
    assert one["global_step"] == two["global_step"]
    for key, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][key], tensor, rtol=1e-3, atol=1e-3)
    assert json.loads((tmp_path / "two" / "metrics.json").read_text())["train"]["tokens"] >= 150000


def test_a_data_set_made_by_two_jobs_of_which_one_is_preempted_is_that_of_one_machine(
    slurm: None, tmp_path: Path
) -> None:
    size = ["generate.visits=120000", "generate.shard_size=1000", "generate.workers=1"]

    def generate(folder: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "sos", "generate", f"generate.out={tmp_path / folder}", *size, *arguments]

    alone = subprocess.run(generate("alone"), cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=900)
    assert alone.returncode == 0, alone.stderr[-3000:]
    files = sorted(path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*.npy"))
    earlier = set(jobs())
    sweep = [
        "-m",
        "hydra/launcher=slurm_cpu",
        "generate.parts=2",
        "generate.part=0,1",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    ]
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(generate("parts", *sweep), cwd=ROOT, env=ENV, stdout=out, stderr=out)
        deadline = time.time() + 900
        while not list((tmp_path / "parts").glob("shard-*")) and process.poll() is None and time.time() < deadline:
            time.sleep(0.02)
        running = subprocess.run(["squeue", "-h", "-t", "R", "-o", "%i"], capture_output=True, text=True).stdout.split()
        job = sorted(set(running) - earlier)[0]
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
        begin_again(job, deadline)
        assert process.wait(timeout=900) == 0, (tmp_path / "out").read_text()[-3000:]
    merged = [*generate("parts", "generate.parts=2", "generate.merge=true", "generate.verify=true")]
    done = subprocess.run(merged, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len({path.parent for path in files}) == 120
    for path in files:
        assert (tmp_path / "parts" / path).read_bytes() == (tmp_path / "alone" / path).read_bytes()
