"""What a model is called in Hugging Face transformers: its config and its weights. It is a Llama, or a Qwen3 for
model.qk_norm=true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sos.stream.dialect.vocab import BOS, EOS, PAD

if TYPE_CHECKING:
    from torch import Tensor

    from sos.model.gpt import GPT, Block
    from sos.model.shape import GPTConfig


def hf_config(config: GPTConfig, dtype: str = "float32") -> dict[str, Any]:
    """Return the content of config.json; `dtype` is the type of the weights, as torch names it."""
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
        "torch_dtype": dtype,
    }


def hf_weights(model: GPT) -> dict[str, Tensor]:
    """Return the weights under their names in transformers, contiguous copies; a tied head is left out."""
    return {name: weight.detach().cpu().clone() for name, weight in named_weights(model).items()}


def named_weights(model: GPT) -> dict[str, Tensor]:
    """Return the weights themselves, or views of them, under their names in transformers; what is written into one is
    the model's."""
    weights: dict[str, Tensor] = {
        "model.embed_tokens.weight": model.embed.weight,
        "model.norm.weight": model.norm.weight,
    }
    for i, block in enumerate(model.blocks):
        parts = _block_weights(block)  # type: ignore[arg-type]
        weights |= {f"model.layers.{i}.{name}.weight": weight for name, weight in parts.items()}
    if not model.config.tie_embeddings:
        weights["lm_head.weight"] = model.head.weight
    return {name: weight.detach() for name, weight in weights.items()}


def _block_weights(block: Block) -> dict[str, Tensor]:
    attention, mlp = block.attention, block.mlp
    heads = (attention.num_heads, attention.num_kv_heads, attention.num_kv_heads)
    q, k, v = attention.qkv.weight.detach().split([num * attention.head_dim for num in heads])
    gate, up = mlp.gate_up.weight.detach().chunk(2)
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
    return parts


def generation_config(config: GPTConfig) -> dict[str, Any]:
    """Return the content of generation_config.json: greedy, to `<eos>` or the end of the context, as our rollouts."""
    return {
        "do_sample": False,
        "max_length": config.context,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }


# What a config.json of transformers means that does not say it, where we rely on it.
UNSAID = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
}
# What would be another model: key -> the values with which it is none.
PLAIN = {
    "rope_scaling": (None,),
    "mlp_bias": (None, False),
    "use_sliding_window": (None, False),
    "quantization_config": (None,),
}
# Of the shape: their key -> ours.
SIZES = {
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "hidden_size": "width",
    "rope_theta": "rope_theta",
    "tie_word_embeddings": "tie_embeddings",
}
COMPARED = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    *UNSAID,
)


def plain_config(found: dict[str, Any]) -> dict[str, Any]:
    """Return a config.json in the form of `hf_config`, whichever version of transformers wrote it."""
    rope = found.get("rope_parameters")
    rope = {key: value for key, value in rope.items() if value is not None} if isinstance(rope, dict) else {}
    result = UNSAID | found | {key: rope[key] for key in ("rope_theta",) if key in rope}
    if rope.get("rope_type", "default") != "default":
        result["rope_scaling"] = rope
    heads, width = result.get("num_attention_heads"), result.get("hidden_size")
    if result.get("head_dim") is None and type(heads) is int and type(width) is int and heads > 0:
        result["head_dim"] = width // heads
    return result


def other_model(found: dict[str, Any], config: GPTConfig) -> str | None:
    """Return in what a config.json, as of `plain_config`, is of another model than ours, or None."""
    expected = hf_config(config)
    for key in COMPARED:
        if type(found.get(key)) is not type(expected[key]) or found[key] != expected[key]:
            return f"{key} is {found.get(key, 'missing')!r:.60}, here it would be {expected[key]!r}"
    for key, values in PLAIN.items():
        if found.get(key) not in values:
            return f"{key} is {found[key]!r:.60}, which a model here has not"
    if type(longest := found.get("max_position_embeddings")) is not int or longest < config.context:
        return f"max_position_embeddings is {longest!r:.60}, data.context {config.context}"
    return None


def shape_of(found: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of our `model` group that a config.json, as of `plain_config`, says, unchecked."""
    shape: dict[str, Any] = {ours: found.get(theirs) for theirs, ours in SIZES.items()}
    if shape["num_kv_heads"] == shape["num_heads"]:
        shape["num_kv_heads"] = 0
    hidden, width = found.get("intermediate_size"), shape["width"]
    if type(hidden) is int and type(width) is int and width > 0:
        shape["mlp_ratio"] = 1.5 * hidden / width
    return shape | {"qk_norm": found.get("model_type") == "qwen3"}
