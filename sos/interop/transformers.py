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


def generation_config(config: GPTConfig) -> dict[str, Any]:
    """Return the content of generation_config.json: greedy, to `<eos>` or the end of the context, as our rollouts."""
    return {
        "do_sample": False,
        "max_length": config.context,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
