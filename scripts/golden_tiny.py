#!/usr/bin/env python3
"""Makes the fixtures of tests/engine/golden_tiny.rs: tiny random models of every architecture, and the values
that Hugging Face transformers computes for them.

    python scripts/golden_tiny.py [OUT]          (OUT: tests/fixtures/golden beside this script)

Needs torch, transformers, tokenizers, safetensors and gguf, in the versions that each golden.json
records. Every fixture is a directory that the crate can load (config.json, model.safetensors or shards
with an index, and tokenizer.json; or one model.gguf), with

  golden.json         tokens: the input; prompt: the number of them in the prompt of the greedy
                      continuation; greedy: this continuation; smallest_gap: the smallest
                      difference between its best and second-best logits;
                      positions: the positions of the rows of logits (all, or every fourth for
                      GGUF files, whose vocabulary is larger)
  golden.safetensors  logits [positions, vocab] of the input, f32

The random weights (including norms and biases) are far larger than in an untrained model, so that each
part of the decoder affects the logits. If two heads are exchanged, a norm is missing or a rotary
frequency is wrong, nothing agrees. `--sensitivity` shows this for some mistakes.
"""

import argparse
import json
import math
import pathlib
import shutil

import gguf
import numpy as np
import safetensors.torch
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

TOKENS = 32
PROMPT = 12
GREEDY = 72
VERSIONS = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"

# The sizes are small and not round, so that kernels process remainders.
BASE = dict(
    vocab_size=61,
    hidden_size=20,
    intermediate_size=22,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)


def rope(theta=10000.0, **scaling):
    return {"rope_theta": theta, "rope_type": "default", **scaling}


def variants():
    """Yields (name, configuration, options for writing config.json and the weights)."""
    base = BASE
    # Qwen2 has no head_dim of its own: hidden_size / heads = 6.
    qwen2 = {k: v for k, v in base.items() if k != "head_dim"} | dict(hidden_size=24)
    yield "llama_gqa_tied", LlamaConfig(
        **(base | dict(hidden_size=16, intermediate_size=40, head_dim=4)),
        tie_word_embeddings=True, rope_parameters=rope()), {}
    yield "llama_llama3_rope", LlamaConfig(
        **base, tie_word_embeddings=False,
        rope_parameters=rope(
            500.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=64)), {"old_config": True}
    # The same scaling in the format of transformers 5.
    yield "llama_llama3_rope_v5", LlamaConfig(
        **(base | dict(num_hidden_layers=1)), tie_word_embeddings=True,
        rope_parameters=rope(
            300.0, rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=2.0,
            original_max_position_embeddings=32)), {}
    yield "llama_linear_rope", LlamaConfig(
        **(base | dict(
            hidden_size=24, num_attention_heads=3, num_key_value_heads=3, num_hidden_layers=1)),
        tie_word_embeddings=False,
        rope_parameters=rope(1000.0, rope_type="linear", factor=4.0)), {"old_config": True}
    yield "llama_biases", LlamaConfig(
        **(base | dict(num_hidden_layers=1)),
        tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
        rope_parameters=rope()), {}
    yield "llama_sharded", LlamaConfig(
        **(base | dict(hidden_size=16, intermediate_size=24, head_dim=4)),
        tie_word_embeddings=False, rope_parameters=rope()), {"shards": 3, "old_config": True}
    yield "mistral_window", MistralConfig(
        **(base | dict(num_key_value_heads=1)), sliding_window=7, tie_word_embeddings=False,
        rope_parameters=rope()), {"old_config": True}
    yield "qwen2", Qwen2Config(
        **qwen2, tie_word_embeddings=True,
        use_sliding_window=False, sliding_window=9, max_window_layers=1,
        rope_parameters=rope(5000.0)), {"old_config": True}
    # Layers below max_window_layers attend to all positions, the others to 9.
    yield "qwen2_window", Qwen2Config(
        **qwen2,
        tie_word_embeddings=False,
        use_sliding_window=True, sliding_window=9, max_window_layers=1,
        rope_parameters=rope()), {"old_config": True}
    # Windows listed by layer, in the format of transformers 5.
    yield "qwen2_layer_types", Qwen2Config(
        **qwen2, tie_word_embeddings=False,
        use_sliding_window=True, sliding_window=5,
        layer_types=["sliding_attention", "full_attention"], rope_parameters=rope()), {}
    yield "qwen3", Qwen3Config(
        **(base | dict(hidden_size=16, head_dim=12)), tie_word_embeddings=True,
        rope_parameters=rope(5000.0)), {"old_config": True}
    yield "qwen3_bias", Qwen3Config(
        **(base | dict(hidden_size=20, head_dim=6, num_key_value_heads=4)),
        tie_word_embeddings=False, attention_bias=True, rope_parameters=rope()), {}
    # A scaled range of frequencies and an attention factor.
    yield "qwen2_yarn", Qwen2Config(
        **(qwen2 | dict(num_hidden_layers=1)), tie_word_embeddings=False,
        rope_parameters=rope(
            500.0, rope_type="yarn", factor=4.0,
            original_max_position_embeddings=16)), {"old_config": True}
    # The configuration ties the head to the embedding, but the file has a different head.
    yield "llama_tied_head_differs", LlamaConfig(
        **(base | dict(hidden_size=16, intermediate_size=24, head_dim=4, num_hidden_layers=1)),
        tie_word_embeddings=False, rope_parameters=rope()), {"says_tied": True}


def randomise(model, generator):
    """Sets large random weights (see the docstring of this file)."""
    for name, parameter in model.named_parameters():
        shape = parameter.shape
        noise = torch.randn(shape, generator=generator)
        if name.endswith("norm.weight"):
            values = 0.4 + 1.2 * torch.rand(shape, generator=generator)
        elif name.endswith(".bias"):
            values = 0.5 * noise
        elif "embed_tokens" in name:
            # With a tied embedding this large, each token would predict itself.
            values = noise * (0.35 if model.config.tie_word_embeddings else 1.0)
        else:
            gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.4
            values = noise * gain / math.sqrt(shape[-1])
        parameter.data.copy_(values)


@torch.no_grad()
def logits_of(model, tokens):
    return model(torch.tensor([tokens]), use_cache=False).logits[0].float().contiguous()


@torch.no_grad()
def greedy_of(model, prompt, count):
    """Returns the greedy continuation, recomputed at each step without a cache."""
    tokens, gap = list(prompt), math.inf
    for _ in range(count):
        best = logits_of(model, tokens)[-1].topk(2)
        gap = min(gap, float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
    return tokens[len(prompt):], gap


def write_golden(directory, model, tokens, greedy, gap, every=1):
    logits = logits_of(model, tokens)
    positions = list(range(every - 1, len(tokens), every))
    golden = {
        "made_with": VERSIONS,
        "tokens": tokens,
        "positions": positions,
        "prompt": PROMPT,
        "greedy": greedy,
        "smallest_gap": round(gap, 6),
    }
    (directory / "golden.json").write_text(json.dumps(golden) + "\n")
    kept = {"logits": logits[positions].contiguous()}
    safetensors.torch.save_file(kept, directory / "golden.safetensors")
    return golden, logits


def write_tokenizer(directory, size):
    """Writes a tokenizer, which the loader requires: a token `tN` for every id, separated by spaces."""
    tokenizer = Tokenizer(models.WordLevel({f"t{i}": i for i in range(size)}, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (directory / "tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n")


def write_config(directory, config, old, says_tied=False):
    """Writes config.json in the format of transformers 5, or in that of older published files
    (`rope_theta` and `rope_scaling`, `torch_dtype`, no `layer_types`)."""
    values = json.loads(config.to_json_string(use_diff=False))
    keep = [
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings",
        "rms_norm_eps", "bos_token_id", "eos_token_id", "tie_word_embeddings", "attention_bias",
        "mlp_bias", "sliding_window", "use_sliding_window", "max_window_layers", "layer_types",
        "hidden_act", "model_type", "rope_parameters",
    ]
    values = {key: values[key] for key in keep if key in values}
    values["architectures"] = [type(config).__name__.replace("Config", "ForCausalLM")]
    if old:
        parameters = values.pop("rope_parameters")
        values["rope_theta"] = parameters.pop("rope_theta")
        values["rope_scaling"] = None if parameters["rope_type"] == "default" else parameters
        values.pop("layer_types", None)
        if values.get("head_dim") == values["hidden_size"] // values["num_attention_heads"]:
            values.pop("head_dim", None)
        values["torch_dtype"] = "float32"
    else:
        values["dtype"] = "float32"
    if says_tied:
        values["tie_word_embeddings"] = True
    (directory / "config.json").write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


def write_weights(directory, model, shards):
    tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    if shards == 1:
        safetensors.torch.save_file(tensors, directory / "model.safetensors", {"format": "pt"})
        return
    names, weight_map = sorted(tensors), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        weight_map |= {name: file for name in part}
        safetensors.torch.save_file(part, directory / file, {"format": "pt"})
    size = sum(tensor.numel() * 4 for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


# GGUF: a block holds 32 weights of a row, so the widths are multiples of 32. Each block type that the
# gguf package can write appears once. The real model covers the types with blocks of 256 weights.
GGUF_TYPES = {
    "token_embd": "Q8_0", "output": "F16", "attn_q": "Q8_0", "attn_k": "Q4_1",
    "attn_v": "Q5_0", "attn_output": "Q4_0", "ffn_gate": "Q5_1", "ffn_up": "BF16",
    "ffn_down": "Q8_0",
}


def gguf_variants():
    base = BASE | dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, vocab_size=288)
    # In GGUF files of Llama, query and key rows are in the order of interleaved rotary pairs.
    yield "gguf_llama", "llama", LlamaConfig(
        **base, tie_word_embeddings=False, rope_parameters=rope())
    base.pop("head_dim")
    yield "gguf_qwen2", "qwen2", Qwen2Config(
        **base, tie_word_embeddings=True, rope_parameters=rope(1000000.0))


def byte_tokens():
    """Returns the 256 characters of byte-level BPE (GPT-2's table), in byte order."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in kept else chr(next(others)) for b in range(256)]


def add_shape(writer, config):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])


def tensor_names(architecture, config):
    architectures = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2}
    return gguf.get_tensor_name_map(architectures[architecture], config.num_hidden_layers)


def write_tensors(writer, architecture, config, model, types, quantize=gguf.quants.quantize):
    """Writes the model's tensors and closes the file. `types` has the type of each module's matrix."""
    names = tensor_names(architecture, config)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy()
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            values = (values.reshape(heads, 2, -1, values.shape[1])
                      .swapaxes(1, 2).reshape(values.shape))
        file_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        kind = types[file_name.split(".")[-2]] if values.ndim == 2 else "F32"
        kind = gguf.GGMLQuantizationType[kind]
        data = quantize(np.ascontiguousarray(values), kind)
        writer.add_tensor(file_name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gguf(path, architecture, config, model):
    writer = gguf.GGUFWriter(path, architecture)
    add_shape(writer, config)
    writer.add_vocab_size(config.vocab_size)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(head_dim)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre({"llama": "smollm", "qwen2": "qwen2"}[architecture])
    special = config.vocab_size - 256 - 4
    bytes_ = byte_tokens()
    merges = [("a", "b"), ("ab", "c"), ("Ġ", "a"), ("1", "2")]
    merges = [(bytes_[32] if a == "Ġ" else a, b) for a, b in merges]
    tokens = bytes_ + [a + b for a, b in merges] + [f"<|s{i}|>" for i in range(special)]
    kinds = [gguf.TokenType.NORMAL] * 260 + [gguf.TokenType.CONTROL] * special
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(260)
    writer.add_eos_token_id(261)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    write_tensors(writer, architecture, config, model, GGUF_TYPES)


def load_gguf_weights(path, architecture, config, model):
    """Loads the file's weights into the model, dequantized by the gguf package."""
    names = tensor_names(architecture, config)
    held = {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(path).tensors
    }
    for name, tensor in model.named_parameters():
        values = held[names.get_name(name, try_suffixes=(".weight", ".bias"))]
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            values = (values.reshape(heads, -1, 2, values.shape[-1])
                      .swapaxes(1, 2).reshape(values.shape))
        tensor.data.copy_(torch.from_numpy(np.array(values, dtype=np.float32)))


def make(config, seed, finish=lambda model: None):
    """Searches from this seed for the first one whose greedy continuation is varied and has no near ties."""
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    while True:
        generator = torch.Generator().manual_seed(seed)
        randomise(model, generator)
        tokens = torch.randint(0, config.vocab_size, (TOKENS,), generator=generator).tolist()
        finish(model)
        greedy, gap = greedy_of(model, tokens[:PROMPT], GREEDY)
        if len(set(greedy)) >= 12 and gap >= 5e-3:
            return model, tokens, greedy, gap
        seed += 100


def sensitivity(model, tokens, logits):
    """Returns the largest relative difference that each of some mistakes in a decoder would cause."""
    scale = logits.abs().max()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    result = {}
    for part in ["input_layernorm", "post_attention_layernorm", "model.norm", "q_norm", "k_norm",
                 "q_proj.bias", "v_proj.bias", "o_proj.bias", "down_proj.bias"]:
        hit = [name for name in state if part in name]
        if not hit:
            continue
        for name in hit:
            model.state_dict()[name].fill_(0.0 if name.endswith("bias") else 1.0)
        result[part] = float((logits_of(model, tokens) - logits).abs().max() / scale)
        model.load_state_dict(state)
    rotary = model.model.rotary_emb
    frequencies = rotary.inv_freq.clone()
    rotary.inv_freq[-1] *= 1.5
    result["slowest rotary pair"] = float((logits_of(model, tokens) - logits).abs().max() / scale)
    rotary.inv_freq.copy_(frequencies)
    return {key: round(value, 4) for key, value in result.items()}


def summary(golden, logits):
    return (f"logits up to {float(logits.abs().max()):4.1f}, smallest gap "
            f"{golden['smallest_gap']:.4f}, {len(set(golden['greedy']))} distinct greedy tokens")


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "out", nargs="?", type=pathlib.Path, default=here.parent / "tests/fixtures/golden")
    parser.add_argument("--sensitivity", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    for index, (name, config, how) in enumerate(variants()):
        directory = arguments.out / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        model, tokens, greedy, gap = make(config, 1000 + index)
        write_config(
            directory, config, how.get("old_config", False), how.get("says_tied", False))
        write_weights(directory, model, how.get("shards", 1))
        write_tokenizer(directory, config.vocab_size)
        golden, logits = write_golden(directory, model, tokens, greedy, gap)
        # Check that transformers reads back the weights that were used.
        again = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="eager")
        assert torch.equal(logits_of(again, tokens), logits), name
        print(f"{name:22}", summary(golden, logits))
        if arguments.sensitivity:
            print("   ", sensitivity(model, tokens, logits))

    for index, (name, architecture, config) in enumerate(gguf_variants()):
        directory = arguments.out / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        path = directory / "model.gguf"

        def through_file(model):
            write_gguf(path, architecture, config, model)
            load_gguf_weights(path, architecture, config, model)

        model, tokens, greedy, gap = make(config, 2000 + index, through_file)
        golden, logits = write_golden(directory, model, tokens, greedy, gap, every=4)
        again = transformers.AutoModelForCausalLM.from_pretrained(
            directory, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager")
        error = float((logits_of(again, tokens) - logits).abs().max() / logits.abs().max())
        print(f"{name:22}", summary(golden, logits), f"transformers' own reading: {error:.1e}")


if __name__ == "__main__":
    main()
