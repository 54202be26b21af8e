"""Ask a server of vLLM or SGLang for the answers of an exported model, and judge them.

    sos export outputs/RUN out=hf
    vllm serve hf --dtype float32                                   # or:
    python -m sglang.launch_server --model-path hf --dtype float32 --port 8000
    python tests/bench/served.py outputs/RUN hf --problems 200

It prints how many of the problems of `val` are solved, and by how many answers the server differs from our own rollouts.
Both speak the protocol of OpenAI's completions; prompts are sent as ids, `<bos>` included. It was tried against a server
that answers as they do, not on either of them.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import sos
from sos.stream.dialect.vocab import EOS


def ask(url: str, model: str, prompt: list[int], max_tokens: int) -> str:
    """Return the text behind a prompt, greedy. Raises urllib.error.URLError."""
    asked = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/completions", data=json.dumps(asked).encode(), headers=head)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return str(json.load(answer)["choices"][0]["text"])


def behind(answer: sos.Answer, prompt: list[int]) -> list[int]:
    """Return the tokens behind a prompt, without the end, which no server sends."""
    return [token for token in answer.tokens.tolist()[len(prompt) :] if token != EOS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the run that was exported")
    parser.add_argument("model", help="the folder that is served, as the server was given it")
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument("--problems", type=int, default=200)
    options = parser.parse_args()
    run = sos.load(options.run)
    problems = run.problems(options.problems)
    prompts = [run.prompt(problem) for problem in problems]
    room = [run.config.data.context - len(prompt) for prompt in prompts]
    with ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(lambda k: ask(options.url, options.model, prompts[k], room[k]), range(len(prompts))))
    served = [run.verify(text, problem) for text, problem in zip(texts, problems, strict=True)]
    ours = run.rollout(problems)
    differ = sum(behind(a, p) != behind(b, p) for a, b, p in zip(served, ours, prompts, strict=True))
    print(
        f"solved by the server {sum(a.solved for a in served)}, by our rollouts {sum(a.solved for a in ours)} of {len(problems)}"
    )
    print(f"answers with other tokens: {differ}")


if __name__ == "__main__":
    main()
