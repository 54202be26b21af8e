"""A model as a folder of Hugging Face transformers, which `sos export RUN out=FOLDER` writes.

| file | holds |
| --- | --- |
| `model.safetensors`, `config.json` | the model, for `AutoModelForCausalLM`, and by `sos` what run it is of |
| `generation_config.json` | greedy, up to `<eos>` or the end of the context |
| `tokenizer.json`, `tokenizer_config.json` | for `AutoTokenizer`: `<bos>` in front, padding on the left |
| `README.md` | the model card: what was measured, how it was made, how to use it |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sos import __version__
from sos.errors import UserError, install_hint
from sos.files import write_json, written_whole
from sos.interop.tokenizer import exported_tokenizer, joins_digits
from sos.interop.transformers import generation_config, hf_config, hf_weights
from sos.stream.dialect.vocab import SPECIALS, Vocabulary

if TYPE_CHECKING:
    from sos.model.gpt import GPT
    from sos.runs.checkpoint import LoadedCheckpoint

RECORD = "sos"  # the key of config.json that says what run the model is of


class Words(NamedTuple):
    """What turns text into tokens."""

    vocabulary: Vocabulary
    joined: bool = False  # see `joins_digits`


def export(
    model: GPT, words: Words | None, out: Path, *, record: dict[str, Any] | None = None, card: str | None = None
) -> None:
    """Write the folder; without `words` no tokenizer, without `card` no README.md. `record` is kept in config.json.

    Raises UserError if the folder holds anything or safetensors is missing.
    """
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise UserError(f"safetensors is not installed: {install_hint('export')}") from error
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"out={out} is there already and not an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    weights = hf_weights(model)
    dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    with written_whole(out / "model.safetensors") as partial:
        save_file(weights, partial, metadata={"format": "pt"})
    write_json(out / "config.json", hf_config(model.config, dtype) | ({} if record is None else {RECORD: record}))
    write_json(out / "generation_config.json", generation_config(model.config))
    if words is not None:
        with written_whole(out / "tokenizer.json") as partial:
            exported_tokenizer(*words).save(str(partial))
        write_json(out / "tokenizer_config.json", tokenizer_config(model.config.context))
    if card is not None:
        with written_whole(out / "README.md") as partial:
            partial.write_text(card, encoding="utf-8")


def tokenizer_config(context: int) -> dict[str, Any]:
    """Return the content of tokenizer_config.json."""
    names = dict(zip(("pad_token", "bos_token", "eos_token"), SPECIALS, strict=True))
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
    } | names


def record_of(loaded: LoadedCheckpoint) -> dict[str, Any]:
    """Return what a run is known by, plain values: its config, vocabulary, dialect and how long it was trained."""
    return {
        "version": __version__,
        "config": loaded.config,
        "vocabulary": loaded.vocabulary,
        "dialect_hash": loaded.dialect_hash,
        "train": loaded.train,
    }


def export_run(place: Path, out: Path) -> None:
    """Export the checkpoint, or the last one of a run folder, that `place` names. Raises UserError in one line."""
    from sos.interop.model_card import card_of
    from sos.runs.checkpoint import config_of, load_checkpoint, load_model
    from sos.runs.folder import RunFolder, checkpoint_of
    from sos.system import build_system

    path = checkpoint_of(place)
    loaded = load_checkpoint(path)
    config = config_of(loaded)
    config.stream.check_whole(str(place), "generate of transformers erases nothing")
    system = build_system(config)
    model = load_model(loaded, system)
    model.to(next(iter(loaded.state_dict.values())).dtype).load_state_dict(loaded.state_dict)  # in its own type
    words = Words(system.dialect.vocab, joins_digits(system.dialect))
    card = card_of(RunFolder.of_checkpoint(path), loaded, model, system)
    export(model, words, out, record=record_of(loaded), card=card)
