#!/usr/bin/env python3
"""Makes tests/fixtures/golden/gguf_sentencepiece: a tiny random model like Mistral (with a sliding window)
in a GGUF file with a SentencePiece vocabulary, as llama.cpp's converter writes it.

    python scripts/golden_sentencepiece.py [OUT]

Needs the packages of golden_tiny.py, and sentencepiece. Writes the files of that script, and

  texts.json   encoded: [text, ids] by sentencepiece; decoded: [ids, text] by sentencepiece;
               special: [text, ids] for texts that spell out special tokens; sentencepiece encodes
               the parts between them, as in transformers' tokenizer of Llama 2

The script trains the vocabulary on generated text. Two matrices are stored as IQ4_NL and MXFP4, which
the gguf package dequantizes for the logits.
"""

import argparse
import io
import json
import pathlib
import random
import re
import shutil

import gguf
import numpy as np
import sentencepiece
import torch
import transformers
from transformers import MistralConfig

import golden_tiny

PIECES = 600
TYPES = golden_tiny.GGUF_TYPES | {"attn_v": "IQ4_NL", "ffn_up": "MXFP4"}

TEXTS = [
    "", " ", "  ", "   ", "a", " a", "a ", "  a  b   c ", "\n", "\n\n", " \n ", "\t\tx", "a\nb\r\nc\n",
    "The answer is 42.", "the the the the", "What is 2+2?", "1234567890", "3.14159 + 2,718", "-17%",
    "$\\frac{1}{2}+\\sqrt{3}\\,\\text{cm}^2$", "\\boxed{42}", "x^{2} + y_{1} = \\pi", "$$\\int_0^1 x\\,dx$$",
    "User: What is 2+2?\nPlease reason step by step, and put your final answer within \\boxed{}.\n\n"
    "Assistant:", "### Instruction:\nAdd.\n\n### Response:\n", "don't won't I'll", "UPPER lower MiXeD",
    "你好，世界", "数学 is 数学", "あいう カナ", "한국어", "العربية", "עברית", "ελληνικά Ω≈ç√∫",
    "naïve café", "e\u0301 \u00e9", "😀", "😀😀 a 👩‍🔬🇩🇪", "\u00a0x\u00a0", "\u3000", "\u200b|\ufeff", "a\u2028b",
    "▁", "▁a", "a▁b", "▁▁ ▁", "<0x41>", "<0x0A><0xE4>", "<unknown>", "< s>", "<s", "[INST] Hi [/INST]",
    "\0", "\x01\x7f", "~!@#$%^&*()_+{}|:\"<>?`-=[]\\;',./", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "                    deep", "a" * 40 + " " * 17 + "b", "(((((a)))))", "ﬁ ½ ² Ⅷ", "１２３", "\U00010400\U0001d54f",
    "for i in range(10):\n    print(i)\n\treturn", "So 3 + 4 = 7, and 7 * 6 = 42. The answer is 42",
]
SPECIAL = [
    "<s>", "</s>", "<s>a", "<s> a", "a</s>", "a</s>b", "<s><s>a</s></s>", " <s> ", "<s>[INST] Hi [/INST] Hello</s>",
    "<s>[INST] 1 + 1? [/INST]", "x <unk> y", "\n<s>\n", "<s>  two", "</s>你",
]


def corpus():
    """Returns sentences of word problems, formulas and code."""
    draw = random.Random(7)
    names = "Anna Ben Carla David Emma Finn Greta Henry".split()
    things = "apples books cards coins marbles pens stickers tickets".split()
    for _ in range(3000):
        a, b = draw.randint(2, 999), draw.randint(2, 99)
        who, what = draw.choice(names), draw.choice(things)
        yield draw.choice([
            f"{who} has {a} {what} and buys {b} more. How many {what} does {who} have now?",
            f"So {a} + {b} = {a + b}, and the answer is {a + b}.",
            f"Then $\\frac{{{a}}}{{{b}}}$ is the ratio, which gives \\boxed{{{a * b}}}.",
            f"Let x = {a}.  Then x^{{2}} + {b} is what we want,   step by step.",
            f"    for i in range({a}):  return the {what} of {who}",
        ])


def vocabulary():
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(), model_writer=out, model_type="bpe", vocab_size=PIECES,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=True, split_digits=True, character_coverage=0.9995,
        allow_whitespace_only_pieces=True, minloglevel=2, num_threads=1)
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def texts(pieces):
    ids = [pieces.encode(text) for text in TEXTS]
    split = re.compile("(<s>|</s>|<unk>)")
    special = [
        [text, [id for part in split.split(text) if part for id in (
            [pieces.piece_to_id(part)] if split.fullmatch(part) else pieces.encode(part))]]
        for text in SPECIAL
    ]
    byte = pieces.piece_to_id("<0x00>")
    odd = [
        # Bytes of incomplete characters, alone and beside others, with special tokens between.
        [byte + b for b in (0xE4, 0xBD)], [byte + b for b in (0xA0, 0xE4, 0xBD, 0xA0)],
        [byte + b for b in (0xF0, 0x9F, 0x98, 0x80, 0xFF, 0xE4, 0xBD, 0xA0)],
        [byte + 0xE4, *pieces.encode("the"), byte + 0x0A], [1, *pieces.encode("the answer"), 2],
        [*pieces.encode("a  b"), *pieces.encode(" c")], [byte + b for b in (0xED, 0xA0, 0x80)],
    ]
    rows = [*ids, *odd]
    return {
        "encoded": list(zip(TEXTS, ids)),
        "special": special,
        "decoded": [[row, pieces.decode(row)] for row in rows],
    }


def iq4_nl(values):
    """Quantizes to IQ4_NL blocks, rounding to the nearest value. The gguf package can only read them."""
    blocks = values.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16)
    numbers = np.array(gguf.quants.IQ4_NL.kvalues, dtype=np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.nan_to_num(blocks / scale.astype(np.float32))
    codes = np.abs(wanted[..., None] - numbers).argmin(axis=-1).astype(np.uint8)
    packed = codes[:, :16] | (codes[:, 16:] << 4)
    return np.concatenate([scale.view(np.uint8), packed], axis=1).reshape(values.shape[0], -1)


def quantize(values, kind):
    if kind == gguf.GGMLQuantizationType.IQ4_NL:
        return iq4_nl(values)
    return gguf.quants.quantize(values, kind)


def write(path, config, model, pieces):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    golden_tiny.add_shape(writer, config)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_sliding_window(config.sliding_window)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    ids = range(pieces.vocab_size())

    def kind(id):
        for holds, kind in [
            (pieces.is_unknown, gguf.TokenType.UNKNOWN), (pieces.is_control, gguf.TokenType.CONTROL),
            (pieces.is_unused, gguf.TokenType.UNUSED), (pieces.is_byte, gguf.TokenType.BYTE),
        ]:
            if holds(id):
                return kind
        return gguf.TokenType.NORMAL

    writer.add_token_list([pieces.id_to_piece(id) for id in ids])
    writer.add_token_scores([pieces.get_score(id) for id in ids])
    writer.add_token_types([kind(id) for id in ids])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    golden_tiny.write_tensors(writer, "llama", config, model, TYPES, quantize)


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    default = here.parent / "tests/fixtures/golden/gguf_sentencepiece"
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=default)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    pieces = vocabulary()
    base = golden_tiny.BASE | dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, vocab_size=PIECES)
    config = MistralConfig(
        **base, sliding_window=7, tie_word_embeddings=False,
        rope_parameters=golden_tiny.rope())

    def through_file(model):
        write(out / "model.gguf", config, model, pieces)
        golden_tiny.load_gguf_weights(out / "model.gguf", "llama", config, model)

    model, tokens, greedy, gap = golden_tiny.make(config, 3000, through_file)
    golden, logits = golden_tiny.write_golden(out, model, tokens, greedy, gap, every=8)
    print(golden_tiny.summary(golden, logits))
    rows = texts(pieces)
    lines = ",\n".join(
        f"{json.dumps(key)}: [\n"
        + ",\n".join(json.dumps(row, ensure_ascii=False) for row in value) + "\n]"
        for key, value in rows.items())
    (out / "texts.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    print({key: len(value) for key, value in rows.items()})


if __name__ == "__main__":
    main()
