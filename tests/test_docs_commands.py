"""Every command, key and file of Python that the documents name is there.

A command is `sos VERB ...`, `python -m sos VERB ...`, `python train.py ...` or `python FILE.py`, in a block or within a
line. Capital words stand for what the reader has. Nothing is run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache

import pytest
from places import ROOT

from sos.commands.completion import words_of
from sos.commands.verbs import VERBS

# The log is dated, so that its commands are those of their day; the page of all keys is made from the schemas.
LEFT_OUT = ("experiments.md", "configuration.md")
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if p.name not in LEFT_OUT)]
WORD = re.compile(r"(\+\+|\+|~)?([a-z_][a-z0-9_]*(?:[./][a-z0-9_]+)*)=(.*)", re.S)
# Verbs whose runs may have labels, `LABEL=FOLDER`.
LABELLED = ("compare", "doctor")
# Words of other programs, of the reader's own files, of Python, and keys that are said without their group.
OTHERS = ("custom_reward_function.", "+search.strategies.", "experiment=mine", "stream=shouted", "rank=", "world_size=")
OTHERS += ("log_every=",)
STARTS = re.compile(r"(?:python(?:3)? (?:-\S+ )*)?(?:-m )?sos (?=[a-z])|python(?:3)? (?=[\w./]+\.py)")


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a document, with lines that go on joined and what follows `#`, `|` and `&&` left out."""
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    plain = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", plain)]
    for line in lines:
        for part in re.split(r"&&|;|\s#\s|\||\s#$", line.removeprefix("$ ").strip()):
            match = STARTS.match(part.strip())
            if match:
                yield part.strip()


@cache
def known(name: str) -> tuple[set[str], set[str]]:
    """The keys of a verb, and the groups of which it takes files, as `group=NAME`."""
    verb = next(verb for verb in VERBS if verb.name == name)
    words = list(words_of(verb))
    return {w[:-1] for w in words if w.endswith("=")}, {w.lstrip("+") for w in words if not w.endswith("=")}


def wrong_word(word: str, verbs: list[str]) -> str | None:
    """What is wrong with a word behind one of the verbs, or None."""
    match = WORD.match(word)
    if match is None or match[2].startswith("hydra") or match[3][:1].isupper() or word.startswith(OTHERS):
        return None
    key, value = match[2], match[3]
    for verb in verbs:
        keys, files = known(verb)
        groups = {file.partition("=")[0] for file in files}
        if key in groups and key not in keys:
            names = [
                name for name in re.split(r"[,\[\]]", value) if name and not re.search(r"[A-Z./$]{2}|\.ya?ml", name)
            ]
            if all(f"{key}={name}" in files or name.isupper() for name in names):
                return None
        elif key in keys or any(k.startswith(f"{key}.") or key.startswith(f"{k}.") for k in keys):
            return None
        if verb in LABELLED and value.startswith("outputs/"):
            return None
    return f"no verb of {', '.join(verbs)} takes {word}"


def wrong(command: str) -> str | None:
    """What is wrong with a command, or None."""
    words = shlex.split(command, comments=True)
    if words[0].startswith("python") and words[1] != "-m" and words[1] != "train.py":
        return None if (ROOT / words[1]).exists() or words[1].isupper() else f"no file {words[1]}"
    verb = "train" if "train.py" in words[:2] else words[words.index("sos") + 1]
    if verb not in {v.name for v in VERBS}:
        return f"no verb {verb}"
    rest = words[2:] if words[0] != "python" or words[1] == "train.py" else words[4:]
    return next((found for word in rest if (found := wrong_word(word, [verb]))), None)


def keys(text: str) -> Iterator[str]:
    """Yield the words `key=value` that stand alone or beside others in code of a line."""
    plain = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    for span in re.findall(r"`([^`]+)`", plain):
        parts = span.split()
        if all(WORD.fullmatch(part) for part in parts):
            yield from parts


def test_every_command_of_the_documents_is_one() -> None:
    followed, found = 0, []
    for page in PAGES:
        for command in commands(page.read_text(encoding="utf-8")):
            followed += 1
            if problem := wrong(command):
                found.append(f"{page.relative_to(ROOT)}: {command!r}: {problem}")
    assert not found, "\n".join(found)
    assert followed > 150


def test_every_key_of_the_documents_is_one() -> None:
    verbs = [verb.name for verb in VERBS]
    found, followed = [], 0
    for page in PAGES:
        for word in keys(page.read_text(encoding="utf-8")):
            followed += 1
            if wrong_word(word, verbs):
                found.append(f"{page.relative_to(ROOT)}: {word}")
    assert not found, "\n".join(found)
    assert followed > 250


@pytest.mark.parametrize(
    "command",
    [
        "sos veiw outputs/RUN",
        "python train.py stream.veiw=full",
        "python train.py experiment=path_sta",
        "python tests/gone.py",
    ],
)
def test_what_is_misspelled_is_found(command: str) -> None:
    assert [wrong(found) for found in commands(f"```bash\n{command}  # so\n```\n")] != [None]
    assert wrong(next(commands(f"as `{command}`"))) is not None
