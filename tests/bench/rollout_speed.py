"""Rollouts beside Hugging Face `generate` on the CPU: equal weights, equal prompts, equal greedy tokens.

Run `python tests/bench/rollout_speed.py [--preset nano] [--context 256] [--num-problems 256] [--batch-sizes 64,256]
[--repeats 3]`; needs the extra `export`. The weights are random, with logits far apart and an end token that is likely
enough for rollouts of many lengths. Both sides get every batch size and the best of each is compared; the two take turns,
and a figure is the median of the repeats. Time is that of the process (all threads), so that other work on the machine
weighs less.
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

from sos.export import export
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.model.shape import PRESETS, GPTConfig
from sos.stream.vocab import EOS, PAD

VOCAB, PROMPT = 139, 8


def make_model(preset: str, context: int) -> GPT:
    """Return a random model whose greedy rollouts end at many lengths."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(VOCAB, context, tie_embeddings=False, qk_norm=True, **PRESETS[preset])).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                parameter.normal_(std=parameter.shape[1] ** -0.5)
        model.head.weight.mul_(30)
        model.head.weight[EOS] *= 1.5
    return model


def timed(work: Callable[[], list[np.ndarray]]) -> tuple[float, list[np.ndarray]]:
    """Return the seconds that the process was busy, and what the work returned."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--num-problems", type=int, default=256)
    parser.add_argument("--batch-sizes", default="64,256")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    from transformers import AutoModelForCausalLM

    model = make_model(arguments.preset, arguments.context)
    with tempfile.TemporaryDirectory() as folder:
        export(model, None, Path(folder) / "hf")
        theirs = AutoModelForCausalLM.from_pretrained(Path(folder) / "hf").eval()
    max_tokens = arguments.context - PROMPT
    prompts = np.random.default_rng(0).integers(3, VOCAB, (arguments.num_problems, PROMPT))

    def ours(batch_size: int) -> list[np.ndarray]:
        return [r.tokens for r in rollout(model, list(prompts), max_tokens=max_tokens, batch_size=batch_size)]

    def generate(batch_size: int) -> list[np.ndarray]:
        results = []
        for start in range(0, len(prompts), batch_size):
            rows = torch.from_numpy(prompts[start : start + batch_size])
            options = {"do_sample": False, "eos_token_id": EOS, "pad_token_id": PAD, "max_new_tokens": max_tokens}
            with torch.inference_mode():
                tokens = theirs.generate(rows, attention_mask=torch.ones_like(rows), **options).numpy()
            for row in tokens:
                ends = np.flatnonzero(row[PROMPT:] == EOS)
                results.append(row[: PROMPT + ends[0] + 1] if len(ends) else row)
        return results

    ours(8)  # compiles the kernels
    sizes = [int(size) for size in arguments.batch_sizes.split(",")]
    rates: dict[tuple[str, int], list[float]] = {}
    outputs: dict[str, list[np.ndarray]] = {}
    for _ in range(arguments.repeats):
        for size in sizes:
            for name, decode in (("sos", ours), ("transformers", generate)):
                seconds, tokens = timed(lambda decode=decode, size=size: decode(size))
                written = sum(len(row) - PROMPT for row in tokens)
                rates.setdefault((name, size), []).append(written / seconds)
                outputs[name] = tokens
    lengths = np.array([len(row) - PROMPT for row in outputs["sos"]])
    pairs = zip(outputs["sos"], outputs["transformers"], strict=True)
    same = sum(np.array_equal(a, b) for a, b in pairs)
    print(
        f"{arguments.preset}: {len(lengths)} rollouts of {lengths.min()} to {lengths.max()} tokens, mean {lengths.mean():.0f}"
    )
    print(f"equal token for token: {same} of {len(lengths)}")
    for (name, size), values in rates.items():
        print(f"{name:12} batch {size:4}: {statistics.median(values):9.0f} tokens/s")
    best = {
        name: max(statistics.median(v) for (n, _), v in rates.items() if n == name) for name in ("sos", "transformers")
    }
    print(f"ratio of the best: {best['sos'] / best['transformers']:.1f}")


if __name__ == "__main__":
    main()
