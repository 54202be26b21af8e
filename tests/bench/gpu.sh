#!/usr/bin/env bash
# What is measured on one GPU, part by part, each with a limit of its own; every part prints when it is done, so that
# what is known is known when time is up.
#
#   tests/bench/gpu.sh                       # all parts, about 15 minutes on one H100
#   tests/bench/gpu.sh tests training        # some: tests, training, rollouts, speedrun
#   REHEARSE=1 tests/bench/gpu.sh            # the same commands on a CPU, with tiny sizes
#
# PEER names model.py of a clone of github.com/karpathy/nanoGPT, beside whose loop training is timed; OUT is the
# folder of the speedrun (default: a new one in outputs/).
set -uo pipefail
cd "$(dirname "$0")/../.."
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(tests training rollouts speedrun)
python=${PYTHON:-python}
export PYTHONPATH=${PYTHONPATH:-.}
peer=(${PEER:+--peer "$PEER"})
training=(experiment=speedrun)
rollouts=(--device cuda --precision bf16-mixed --preset base --num-kv-heads 1 --context 4096 --num-problems 4096 --batch-sizes 1024)
speedrun=(experiment=speedrun ${OUT:+hydra.run.dir="$OUT"})
turns=5
if [ -n "${REHEARSE:-}" ]; then
  tiny=(trainer.accelerator=cpu model=nano model.num_layers=1 model.num_heads=1 model.width=32 trainer.batch_tokens=4096)
  training+=("${tiny[@]}")
  rollouts=(--precision bf16-mixed --num-problems 8 --batch-sizes 8)
  speedrun+=("${tiny[@]}" data.train_seconds=5 eval.num_problems=8 eval.batch_size=8 eval.max_seconds=20 eval.pass_k=[1] eval.max_tokens=64)
  turns=2
fi

part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 started=$SECONDS status=0
  shift 2
  echo "== $name, at most $limit s: $*"
  timeout --signal=INT --kill-after=15 "$limit" "$@" || status=$?
  echo "== $name ended with status $status after $((SECONDS - started)) s"
  [ $status -eq 0 ] || failed=1
}

failed=0
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
"$python" -c 'import platform, torch; print("Python", platform.python_version(), "torch", torch.__version__, "CUDA", torch.version.cuda)'
for name in "${parts[@]}"; do
  case $name in
    tests) part tests 150 "$python" -m pytest -q tests/model/test_attention.py tests/model/test_steps.py tests/train/test_precision.py ;;
    training) part training 120 "$python" tests/bench/train_speed.py "${peer[@]}" --turns $turns "${training[@]}" ;;
    rollouts) part rollouts 90 "$python" tests/bench/rollout_speed.py --alone --repeats 1 "${rollouts[@]}" ;;
    speedrun) part speedrun 590 "$python" train.py "${speedrun[@]}" ;;
    *) echo "no part is called $name: tests, training, rollouts, speedrun" >&2; exit 2 ;;
  esac
done
exit $failed
