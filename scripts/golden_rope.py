#!/usr/bin/env python3
"""Makes tests/fixtures/golden/rope.json: the rotary frequencies and attention factors that transformers
computes from configurations of every generation.

    python scripts/golden_rope.py [OUT]
"""

import itertools
import json
import pathlib
import sys

import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

BASE = {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_hidden_layers": 2, "max_position_embeddings": 4096, "vocab_size": 100,
        "intermediate_size": 64}
CLASSES = {"llama": transformers.LlamaConfig, "mistral": transformers.MistralConfig,
           "qwen2": transformers.Qwen2Config, "qwen3": transformers.Qwen3Config}

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 1024}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
# The fields of the rotary embedding in config.json.
SETTINGS = [
    {},
    {"rope_theta": 5e5},
    {"rope_theta": 5e5, "rope_scaling": None},
    {"rope_theta": 5e5, "rope_scaling": {}},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 3e4}},
    {"rope_parameters": {"rope_type": "default"}, "rope_theta": 3e4},
    {"rope_theta": 2e4, "rope_parameters": {"rope_type": "default", "rope_theta": 3e4}},
    # Fields of both generations.
    {"rope_theta": 2e4, "rope_scaling": {"type": "linear", "factor": 2.0},
     "rope_parameters": {"rope_type": "default", "rope_theta": 3e4}},
    {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "rope_theta": 7e4},
     "rope_parameters": {"rope_type": "default", "rope_theta": 3e4}},
    {"rope_theta": 2e4, "rope_scaling": {},
     "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 3e4}},
    {"rope_scaling": {"type": "linear", "factor": 4.0}},
    {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "rope_theta": 2e4},
    {"rope_scaling": {"type": "dynamic", "factor": 8.0}},
    {"rope_scaling": LLAMA3, "rope_theta": 5e5},
    {"rope_scaling": {k: v for k, v in LLAMA3.items() if not k.startswith("orig")}},
    {"rope_scaling": LLAMA3, "original_max_position_embeddings": 512},
    {"rope_parameters": LLAMA3 | {"rope_theta": 5e5}},
    {"rope_scaling": YARN, "rope_theta": 1e6},
    {"rope_scaling": {"type": "yarn", "factor": 4.0}},
    {"rope_scaling": YARN | {"attention_factor": 0.75}},
    {"rope_scaling": YARN | {"beta_fast": 16, "beta_slow": 2}},
    {"rope_scaling": YARN | {"truncate": False}, "rope_theta": 150000},
    {"rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}},
    {"rope_scaling": YARN | {"mscale": 0.707, "mscale_all_dim": 1.2, "factor": 40.0}},
    {"rope_scaling": YARN | {"mscale": 0, "mscale_all_dim": 1.0}},
    {"rope_scaling": YARN | {"factor": 1.0}},
    {"rope_parameters": YARN | {"rope_theta": 1e6, "rope_type": "yarn"}},
    {"rope_scaling": YARN, "original_max_position_embeddings": 2048, "rope_theta": 1e6},
]


def main():
    here = pathlib.Path(__file__).resolve().parent
    out = sys.argv[1] if len(sys.argv) > 1 else here.parent / "tests/fixtures/golden/rope.json"
    cases = []
    for settings, (kind, config_class) in zip(SETTINGS, itertools.cycle(CLASSES.items())):
        values = BASE | settings
        config = config_class(**json.loads(json.dumps(values)))
        kind_of_rope = config.rope_parameters["rope_type"]
        if kind_of_rope == "default":
            head_dim = getattr(config, "head_dim", None) or 64
            theta = config.rope_parameters["rope_theta"]
            frequencies = 1.0 / (theta ** (torch.arange(0, head_dim, 2).float() / head_dim))
            factor = 1.0
        else:
            frequencies, factor = ROPE_INIT_FUNCTIONS[kind_of_rope](config, device="cpu")
        cases.append({"config": values | {"model_type": kind},
                      "frequencies": frequencies.tolist(), "attention_factor": float(factor)})
    lines = ",\n".join(json.dumps(case) for case in cases)
    pathlib.Path(out).write_text(f"[\n{lines}\n]\n")
    print(len(cases), "cases, transformers", transformers.__version__)


if __name__ == "__main__":
    main()
