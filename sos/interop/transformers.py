"""A model in the form of Hugging Face transformers, which `sos export RUN out=FOLDER` writes.

The folder, new or empty, gets model.safetensors, config.json and the tokenizer, which
`AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained` read: a Llama, or a Qwen3 for
model.qk_norm=true.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sos.errors import UserError, install_hint
from sos.stream.dialect.vocab import BOS, EOS, PAD, SPECIALS, Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from sos.model.gpt import GPT, Block
    from sos.model.shape import GPTConfig


def hf_config(config: GPTConfig) -> dict[str, Any]:
    """Return the content of config.json."""
    kind, name = ("qwen3", "Qwen3ForCausalLM") if config.qk_norm else ("llama", "LlamaForCausalLM")
    return {
        "architectures": [name],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_hidden,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": 1e-6,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "torch_dtype": "float32",
    }


def hf_weights(model: GPT) -> dict[str, Tensor]:
    """Return the weights under their names in transformers, contiguous copies; a tied head is left out."""
    weights: dict[str, Tensor] = {
        "model.embed_tokens.weight": model.embed.weight,
        "model.norm.weight": model.norm.weight,
    }
    for i, block in enumerate(model.blocks):
        parts = _block_weights(block)  # type: ignore[arg-type]
        weights |= {f"model.layers.{i}.{name}.weight": weight for name, weight in parts.items()}
    if not model.config.tie_embeddings:
        weights["lm_head.weight"] = model.head.weight
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}


def _block_weights(block: Block) -> dict[str, Tensor]:
    attention, mlp = block.attention, block.mlp
    heads = (attention.num_heads, attention.num_kv_heads, attention.num_kv_heads)
    q, k, v = attention.qkv.weight.split([num * attention.head_dim for num in heads])
    gate, up = mlp.gate_up.weight.chunk(2)
    parts = {
        "input_layernorm": block.attention_norm.weight,
        "self_attn.q_proj": q,
        "self_attn.k_proj": k,
        "self_attn.v_proj": v,
        "self_attn.o_proj": attention.out.weight,
        "post_attention_layernorm": block.mlp_norm.weight,
        "mlp.gate_proj": gate,
        "mlp.up_proj": up,
        "mlp.down_proj": mlp.down.weight,
    }
    if attention.q_norm is not None and attention.k_norm is not None:
        parts |= {"self_attn.q_norm": attention.q_norm.weight, "self_attn.k_norm": attention.k_norm.weight}
    return {name: weight.detach() for name, weight in parts.items()}


def export(model: GPT, vocabulary: Vocabulary | None, out: Path) -> None:
    """Write the folder; without a vocabulary no tokenizer. Raises ValueError if it holds anything or the extra is
    missing."""
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise UserError(f"safetensors is not installed: {install_hint('export')}") from error
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"out={out} is there already and not an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    save_file(hf_weights(model), out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(hf_config(model.config), indent=2) + "\n", encoding="utf-8")
    if vocabulary is not None:
        vocabulary.tokenizer().save(str(out / "tokenizer.json"))
        names = dict(zip(("pad_token", "bos_token", "eos_token"), SPECIALS, strict=True))
        content = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.config.context} | names
        (out / "tokenizer_config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def export_run(place: Path, out: Path) -> None:
    """Export the checkpoint, or the last one of a run folder, that `place` names. Raises UserError in one line."""
    from sos.config import config_from_dict
    from sos.runs.checkpoint import load_checkpoint, load_model
    from sos.runs.folder import checkpoint_of
    from sos.system import build_system

    loaded = load_checkpoint(checkpoint_of(place))
    system = build_system(config_from_dict(loaded.config))
    export(load_model(loaded, system), system.dialect.vocab, out)
