"""Rollouts beside Hugging Face `generate`: equal weights, equal prompts, equal greedy tokens.

Run `python tests/bench/rollout_speed.py [--preset nano] [--context 256] [--num-kv-heads 0] [--num-problems 256]
[--batch-sizes 64,256] [--repeats 3] [--threads 1] [--device cpu] [--precision 32-true] [--alone] [--to-the-end]`; needs the extra
`export`, but not `--alone`, without the other side. The weights are random, with logits far apart and an end token
that is likely enough for rollouts of many lengths (`--to-the-end`: of one length, the context). Both sides get
every batch size and the best of each is compared; the two take turns, and a figure is the median of the repeats. On
a CPU with one thread time is that of the process, so that other work on the machine weighs less; with more threads it
is the clock's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sos.interop.model_folder import export
from sos.model.cpu.threads import num_threads, set_num_threads
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.model.shape import PRESETS, GPTConfig
from sos.stream.dialect.vocab import EOS, PAD
from sos.train.precision import decoding

VOCAB, PROMPT = 139, 8


def make_model(preset: str, context: int, num_kv_heads: int, to_the_end: bool) -> GPT:
    """Return a random model whose greedy rollouts end at many lengths, or only where the context does."""
    torch.manual_seed(0)
    shape = PRESETS[preset] | {"tie_embeddings": False, "qk_norm": True, "num_kv_heads": num_kv_heads}
    model = GPT(GPTConfig(VOCAB, context, **shape)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                parameter.normal_(std=parameter.shape[1] ** -0.5)
        model.head.weight.mul_(30)
        model.head.weight[EOS] *= 0.0 if to_the_end else 1.5
    return model


def timed(work: Callable[[], list[np.ndarray]], device: str) -> tuple[float, list[np.ndarray]]:
    """Return the seconds that it took (on one thread of a CPU: that the process was busy), and what it returned."""
    clock = time.process_time if device == "cpu" and num_threads() == 1 else time.perf_counter
    started = clock()
    result = work()
    return clock() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--num-kv-heads", type=int, default=0)
    parser.add_argument("--num-problems", type=int, default=256)
    parser.add_argument("--batch-sizes", default="64,256")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--to-the-end", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    set_num_threads(arguments.threads)
    model = make_model(arguments.preset, arguments.context, arguments.num_kv_heads, arguments.to_the_end).to(
        arguments.device
    )
    if not arguments.alone:
        from transformers import AutoModelForCausalLM

        with tempfile.TemporaryDirectory() as folder:
            export(model, None, Path(folder) / "hf")
            theirs = AutoModelForCausalLM.from_pretrained(Path(folder) / "hf").eval().to(arguments.device)
    max_tokens = arguments.context - PROMPT
    prompts = np.random.default_rng(0).integers(3, VOCAB, (arguments.num_problems, PROMPT))

    def ours(batch_size: int) -> list[np.ndarray]:
        with decoding(model.device, arguments.precision):
            return [r.tokens for r in rollout(model, list(prompts), max_tokens=max_tokens, batch_size=batch_size)]

    def generate(batch_size: int) -> list[np.ndarray]:
        results = []
        for start in range(0, len(prompts), batch_size):
            rows = torch.from_numpy(prompts[start : start + batch_size]).to(arguments.device)
            options = {"do_sample": False, "eos_token_id": EOS, "pad_token_id": PAD, "max_new_tokens": max_tokens}
            with torch.inference_mode(), decoding(model.device, arguments.precision):
                tokens = theirs.generate(rows, attention_mask=torch.ones_like(rows), **options).cpu().numpy()
            for row in tokens:
                ends = np.flatnonzero(row[PROMPT:] == EOS)
                results.append(row[: PROMPT + ends[0] + 1] if len(ends) else row)
        return results

    sides = {"sos": ours} if arguments.alone else {"sos": ours, "transformers": generate}
    sizes = [int(size) for size in arguments.batch_sizes.split(",")]
    rates: dict[tuple[str, int], list[float]] = {}
    outputs: dict[str, list[np.ndarray]] = {}
    for repeat in range(-1, arguments.repeats):  # the first one compiles kernels
        for size in sizes:
            for name, write in sides.items():
                seconds, tokens = timed(lambda write=write, size=size: write(size), arguments.device)
                written = sum(len(row) - PROMPT for row in tokens)
                if repeat >= 0:
                    rates.setdefault((name, size), []).append(written / seconds)
                outputs[name] = tokens
    lengths = np.array([len(row) - PROMPT for row in outputs["sos"]])
    print(
        f"{arguments.preset}: {len(lengths)} rollouts of {lengths.min()} to {lengths.max()} tokens, "
        f"mean {lengths.mean():.0f}"
    )
    for (name, size), values in rates.items():
        print(f"{name:12} batch {size:4}: {statistics.median(values):9.0f} tokens/s")
    if not arguments.alone:
        pairs = zip(outputs["sos"], outputs["transformers"], strict=True)
        print(f"equal token for token: {sum(np.array_equal(a, b) for a, b in pairs)} of {len(lengths)}")
        best = {side: max(statistics.median(v) for (name, _), v in rates.items() if name == side) for side in sides}
        print(f"ratio of the best: {best['sos'] / best['transformers']:.1f}")


if __name__ == "__main__":
    main()
