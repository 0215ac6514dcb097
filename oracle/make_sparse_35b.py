"""The headers of Qwen3.6-35B-A3B without its weights. make_sparse_35b.py OUT

Writes config.json, the index and 26 shards with their true safetensors headers; the tensor data are holes, so
72 GB of checkpoint take some hundred kilobytes of disk. Enough for `qround plan` and `qround inspect`, which read
headers only. Needs nothing but Python's standard library.
"""
import json
import struct
import sys
from pathlib import Path

HIDDEN, VOCAB, LAYERS, EXPERTS, WIDTH = 2048, 248320, 40, 256, 512
SHARDS = 26
VISION = {"depth": 27, "hidden_size": 1152, "num_heads": 16, "intermediate_size": 4304, "hidden_act": "gelu_pytorch_tanh", "in_channels": 3,
          "patch_size": 16, "temporal_patch_size": 2, "spatial_merge_size": 2, "num_position_embeddings": 2304, "out_hidden_size": HIDDEN,
          "deepstack_visual_indexes": [], "initializer_range": 0.02, "model_type": "qwen3_5_moe"}


def is_attention(layer):
    return layer % 4 == 3


def config():
    return {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"], "model_type": "qwen3_5_moe", "dtype": "bfloat16",
        "image_token_id": 248056, "video_token_id": 248057, "vision_start_token_id": 248053, "vision_end_token_id": 248054,
        "tie_word_embeddings": False, "transformers_version": "4.57.1",
        "text_config": {
            "model_type": "qwen3_5_moe_text", "vocab_size": VOCAB, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
            "layer_types": ["full_attention" if is_attention(layer) else "linear_attention" for layer in range(LAYERS)],
            "full_attention_interval": 4, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "attention_bias": False,
            "attention_dropout": 0.0, "attn_output_gate": True, "hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 262144,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000000, "partial_rotary_factor": 0.25, "mrope_interleaved": True,
                                "mrope_section": [11, 11, 10]},
            "partial_rotary_factor": 0.25, "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
            "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "mamba_ssm_dtype": "float32", "num_experts": EXPERTS,
            "num_experts_per_tok": 8, "moe_intermediate_size": WIDTH, "shared_expert_intermediate_size": WIDTH, "output_router_logits": False,
            "router_aux_loss_coef": 0.001, "mtp_num_hidden_layers": 1, "mtp_use_dedicated_embeddings": False, "bos_token_id": 248044,
            "eos_token_id": 248044, "pad_token_id": None, "tie_word_embeddings": False, "use_cache": True, "dtype": "bfloat16"},
        "vision_config": VISION}


def feed_forward(prefix):
    yield prefix + "mlp.gate.weight", [EXPERTS, HIDDEN]
    yield prefix + "mlp.experts.gate_up_proj", [EXPERTS, 2 * WIDTH, HIDDEN]
    yield prefix + "mlp.experts.down_proj", [EXPERTS, HIDDEN, WIDTH]
    yield prefix + "mlp.shared_expert.gate_proj.weight", [WIDTH, HIDDEN]
    yield prefix + "mlp.shared_expert.up_proj.weight", [WIDTH, HIDDEN]
    yield prefix + "mlp.shared_expert.down_proj.weight", [HIDDEN, WIDTH]
    yield prefix + "mlp.shared_expert_gate.weight", [1, HIDDEN]


def attention(prefix):
    yield prefix + "self_attn.q_proj.weight", [8192, HIDDEN]
    yield prefix + "self_attn.k_proj.weight", [512, HIDDEN]
    yield prefix + "self_attn.v_proj.weight", [512, HIDDEN]
    yield prefix + "self_attn.o_proj.weight", [HIDDEN, 4096]
    yield prefix + "self_attn.q_norm.weight", [256]
    yield prefix + "self_attn.k_norm.weight", [256]


def delta_net(prefix):
    yield prefix + "linear_attn.in_proj_qkv.weight", [8192, HIDDEN]
    yield prefix + "linear_attn.in_proj_z.weight", [4096, HIDDEN]
    yield prefix + "linear_attn.in_proj_b.weight", [32, HIDDEN]
    yield prefix + "linear_attn.in_proj_a.weight", [32, HIDDEN]
    yield prefix + "linear_attn.conv1d.weight", [8192, 1, 4]
    yield prefix + "linear_attn.A_log", [32]
    yield prefix + "linear_attn.dt_bias", [32]
    yield prefix + "linear_attn.norm.weight", [128]
    yield prefix + "linear_attn.out_proj.weight", [HIDDEN, 4096]


def layer(prefix, full_attention):
    yield prefix + "input_layernorm.weight", [HIDDEN]
    yield prefix + "post_attention_layernorm.weight", [HIDDEN]
    yield from (attention if full_attention else delta_net)(prefix)
    yield from feed_forward(prefix)


def vision():
    hidden, wide = VISION["hidden_size"], VISION["intermediate_size"]
    root = "model.visual."
    yield root + "patch_embed.proj.weight", [hidden, 3, 2, 16, 16]
    yield root + "patch_embed.proj.bias", [hidden]
    yield root + "pos_embed.weight", [VISION["num_position_embeddings"], hidden]
    for block in range(VISION["depth"]):
        prefix = f"{root}blocks.{block}."
        for norm in ("norm1", "norm2"):
            yield f"{prefix}{norm}.weight", [hidden]
            yield f"{prefix}{norm}.bias", [hidden]
        for name, out, inputs in (("attn.qkv", 3 * hidden, hidden), ("attn.proj", hidden, hidden), ("mlp.linear_fc1", wide, hidden),
                                  ("mlp.linear_fc2", hidden, wide)):
            yield f"{prefix}{name}.weight", [out, inputs]
            yield f"{prefix}{name}.bias", [out]
    merged = 4 * hidden
    yield root + "merger.norm.weight", [hidden]
    yield root + "merger.norm.bias", [hidden]
    for name, out in (("linear_fc1", merged), ("linear_fc2", HIDDEN)):
        yield f"{root}merger.{name}.weight", [out, merged]
        yield f"{root}merger.{name}.bias", [out]


def tensors():
    text = "model.language_model."
    yield text + "embed_tokens.weight", [VOCAB, HIDDEN]
    for index in range(LAYERS):
        yield from layer(f"{text}layers.{index}.", is_attention(index))
    yield text + "norm.weight", [HIDDEN]
    yield "lm_head.weight", [VOCAB, HIDDEN]
    yield from vision()
    yield "mtp.fc.weight", [HIDDEN, 2 * HIDDEN]
    for norm in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm"):
        yield f"mtp.{norm}.weight", [HIDDEN]
    yield from layer("mtp.layers.0.", True)


def n_bytes(shape):
    count = 2  # BF16
    for extent in shape:
        count *= extent
    return count


def split(entries):
    """Shards of nearly equal size, cut wherever one is full: gate_up_proj and down_proj of a layer may be parted."""
    total = sum(n_bytes(shape) for _, shape in entries)
    shards, done = [[]], 0
    for name, shape in entries:
        if shards[-1] and done >= total * len(shards) / SHARDS:
            shards.append([])
        shards[-1].append((name, shape))
        done += n_bytes(shape)
    return shards


def write_shard(path, entries):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in entries:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + n_bytes(shape)]}
        offset += n_bytes(shape)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True)
    entries = list(tensors())
    shards = split(entries)
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_shard(out / name, shard)
        weight_map.update({tensor: name for tensor, _ in shard})
    total = sum(n_bytes(shape) for _, shape in entries)
    index = {"metadata": {"total_size": float(total)}, "weight_map": dict(sorted(weight_map.items()))}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    (out / "config.json").write_text(json.dumps(config(), indent=2))
    experts = (f"layers.{index}.mlp.experts." for index in range(LAYERS))
    parted = sum(len({weight_map[f"model.language_model.{prefix}{part}"] for part in ("gate_up_proj", "down_proj")}) > 1 for prefix in experts)
    print(f"{len(entries)} tensors, {total} bytes, {len(shards)} shards; gate_up and down lie apart in {parted} layers")


if __name__ == "__main__":
    main()
