#!/usr/bin/env python3
"""Makes the fixtures of tests/engine/golden_transformers.rs: tiny random models of the architectures that
candle-transformers computes, and the values that Hugging Face transformers computes for them.

    python scripts/golden_transformers.py [OUT]    (OUT: tests/fixtures/golden beside this script)

Needs the packages of scripts/golden_tiny.py, which describes the files, and uses its code. Weights are
saved by transformers, in the format of the published models (each matrix of an expert separately).
config.json has the format of the published models. `--sensitivity` shows the effect of omitting some
settings.
"""

import argparse
import json
import math
import pathlib
import shutil
import tempfile

import torch
import transformers
from golden_tiny import (
    GREEDY, PROMPT, TOKENS, greedy_of, logits_of, summary, write_golden, write_tokenizer)

BASE = dict(
    vocab_size=61, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2,
    pad_token_id=None,
)

# The fields of the rotary embedding before transformers 5.
def flat(values):
    parameters = values.pop("rope_parameters")
    values["rope_theta"] = parameters.pop("rope_theta")
    part = parameters.pop("partial_rotary_factor", None)
    if part is not None:
        values["partial_rotary_factor"] = part
    kind = parameters.pop("rope_type")
    values["rope_scaling"] = None if kind == "default" else {"type": kind, **parameters}


def flat_gemma3(values):
    parameters = values.pop("rope_parameters")
    values["rope_theta"] = parameters["full_attention"]["rope_theta"]
    values["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
    values["rope_scaling"] = None
    values["sliding_window_pattern"] = values.pop("_sliding_window_pattern")
    values.pop("layer_types")


def variants():
    """Yields (name, configuration, changes for an older config.json, settings that must have an effect)."""
    gemma = BASE | dict(head_dim=8, rms_norm_eps=1e-6, query_pre_attn_scalar=8)
    # The window limits the context, and is not reached.
    yield "gemma2", transformers.Gemma2Config(
        **gemma, attn_logit_softcapping=2.0, final_logit_softcapping=12.0, sliding_window=128,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0}), flat, [
            ("attn_logit_softcapping", None), ("final_logit_softcapping", None)]
    # The window is shorter than the prompt.
    yield "gemma3", transformers.Gemma3TextConfig(
        **(gemma | dict(num_hidden_layers=3)), sliding_window=7, sliding_window_pattern=2,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 3000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}), flat_gemma3, [
            ("sliding_window", 8)]
    # One key head, as in the published models, for which candle processes many tokens at once.
    yield "gemma3_single_key", transformers.Gemma3TextConfig(
        **(gemma | dict(num_hidden_layers=3, num_key_value_heads=1)), sliding_window=9,
        sliding_window_pattern=3, final_logit_softcapping=2.0, rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 3000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}), None, [
            ("sliding_window", 10)]
    yield "phi3", transformers.Phi3Config(
        **(BASE | dict(hidden_size=32)), rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.75}), flat, []
    yield "glm4", transformers.Glm4Config(
        **BASE, head_dim=8, rms_norm_eps=1.5625e-7, attention_bias=True, tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.5}), None, []
    yield "mixtral", transformers.MixtralConfig(
        **BASE, rms_norm_eps=1e-5, num_local_experts=4, num_experts_per_tok=2,
        sliding_window=None, rope_parameters={"rope_type": "default", "rope_theta": 500.0}), flat, [
            ("num_experts_per_tok", 1)]
    yield "starcoder2", transformers.Starcoder2Config(
        **BASE, norm_epsilon=1e-5, sliding_window=128, use_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0}), flat, [
            ("hidden_act", "silu")]
    deepseek = BASE | dict(
        num_key_value_heads=4, rms_norm_eps=1e-6, moe_intermediate_size=12, n_routed_experts=4,
        n_shared_experts=1, num_experts_per_tok=2, first_k_dense_replace=1, kv_lora_rank=10,
        qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=8, topk_method="greedy",
        norm_topk_prob=False, tie_word_embeddings=False)
    yield "deepseek_v2", transformers.DeepseekV2Config(
        **deepseek, q_lora_rank=None, routed_scaling_factor=1.5, rope_parameters={
            "rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "mscale": 0.707,
            "mscale_all_dim": 0.9, "original_max_position_embeddings": 64, "beta_fast": 32.0,
            "beta_slow": 1.0}), flat, [("routed_scaling_factor", 1.0)]
    yield "deepseek_v2_queries", transformers.DeepseekV2Config(
        **deepseek, q_lora_rank=12, attention_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": 300.0}), None, []


def randomise(model, generator):
    """Sets large random weights, so that every part of the model affects the logits."""
    gemma = "Gemma" in type(model).__name__
    tied = model.config.tie_word_embeddings
    for name, parameter in model.named_parameters():
        shape = parameter.shape
        noise = torch.randn(shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            # Gemma adds 1 to them.
            values = 0.4 - gemma + 1.2 * torch.rand(shape, generator=generator)
        elif name.endswith("bias"):
            values = 0.5 * noise
        elif "embed_tokens" in name:
            # So that no token predicts itself. Gemma multiplies embeddings by the width's square root.
            values = noise * (0.15 if gemma else 0.35 if tied else 1.0)
        else:
            sharp = any(part in name for part in ["q_proj", "k_proj", "qkv_proj", "q_b_proj", "gate.weight"])
            values = noise * (2.0 if sharp else 1.4) / math.sqrt(shape[-1])
        parameter.data.copy_(values)


def make(config, seed):
    """Searches from this seed for the first one whose greedy continuation is varied and has no near ties."""
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for _ in range(200):
        generator = torch.Generator().manual_seed(seed)
        randomise(model, generator)
        tokens = torch.randint(0, config.vocab_size, (TOKENS,), generator=generator).tolist()
        greedy, gap = greedy_of(model, tokens[:PROMPT], GREEDY)
        if len(set(greedy)) >= 12 and gap >= 1e-3:
            return model, tokens, greedy, gap
        seed += 100
    raise SystemExit(f"{type(model).__name__}: no seed gives a varied greedy run without near ties")


IGNORED = [
    "_name_or_path", "transformers_version", "use_cache", "initializer_range", "attention_dropout",
    "return_dict", "output_hidden_states", "output_attentions", "chunk_size_feed_forward",
    "is_encoder_decoder", "id2label", "label2id", "problem_type", "architectures", "dtype",
]


def write_config(directory, model, older):
    values = json.loads(model.config.to_json_string(use_diff=False))
    values = {key: value for key, value in values.items() if key not in IGNORED}
    values["architectures"] = [type(model).__name__]
    if older is None:
        values["dtype"] = "float32"
    else:
        values["torch_dtype"] = "float32"
        older(values)
    (directory / "config.json").write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


def read_back(directory):
    return transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager",
        experts_implementation="eager").eval()


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "out", nargs="?", type=pathlib.Path, default=here.parent / "tests/fixtures/golden")
    parser.add_argument("--only", help="make one fixture, named without `transformers_`")
    parser.add_argument("--sensitivity", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    for index, (name, config, older, settings) in enumerate(variants()):
        if arguments.only not in (None, name):
            continue
        directory = arguments.out / f"transformers_{name}"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        model, tokens, greedy, gap = make(config, 3000 + index)
        write_config(directory, model, older)
        with tempfile.TemporaryDirectory() as saved:
            model.save_pretrained(saved)
            shutil.copy(pathlib.Path(saved) / "model.safetensors", directory)
        write_tokenizer(directory, config.vocab_size)
        golden, logits = write_golden(directory, model, tokens, greedy, gap)
        # Check that transformers reads back the weights that were used.
        again = read_back(directory)
        error = float((logits_of(again, tokens) - logits).abs().max())
        assert error < 1e-5 * float(logits.abs().max()), (name, error)
        print(f"{name:22}", summary(golden, logits))
        if not arguments.sensitivity:
            continue
        for field, value in settings:
            values = json.loads((directory / "config.json").read_text())
            with tempfile.TemporaryDirectory() as changed:
                changed = pathlib.Path(changed)
                (changed / "config.json").write_text(json.dumps(values | {field: value}))
                shutil.copy(directory / "model.safetensors", changed)
                difference = (logits_of(read_back(changed), tokens) - logits).abs().max()
            print("   ", field, value, round(float(difference / logits.abs().max()), 4))


if __name__ == "__main__":
    main()
