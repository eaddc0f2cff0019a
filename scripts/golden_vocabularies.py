#!/usr/bin/env python3
"""Makes tests/fixtures/golden/gguf_vocabularies.json: how the tokenizers of real models split
difficult texts, each with the part of its vocabulary that these texts may use.

    python scripts/golden_vocabularies.py VOCABULARIES [OUT]

VOCABULARIES contains ggml-vocab-{deepseek-llm,deepseek-coder,llama-bpe,qwen2,qwen35}.gguf with their .inp and
.out files. This is the `models` directory of llama.cpp, which is in vendor/llama.cpp of the source package
of llama-cpp-python (0.3.36 was used). The .out files have the tokens of the .inp texts by the models'
original tokenizers. Needs tokenizers and gguf.

The texts are llama.cpp's and the ones below. For the latter, the expected tokens come from Hugging
Face's tokenizers, configured like the models' tokenizer.json files. The script fails unless these
tokenizers agree with the .out files on all of llama.cpp's texts.

Only a part of each vocabulary is kept: the tokens whose bytes occur in a text, and the merges
that make them. No split of a text can give other tokens, so a wrong split shows as it would
with the whole vocabulary. Ids are renumbered.
"""

import argparse
import json
import pathlib
import unicodedata

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

TEXTS = [
    "$\\frac{1}{2}+\\sqrt{3}\\,\\text{cm}^2$ \\boxed{42}",
    "User: What is 2+2?\nPlease reason step by step, and put your final answer within "
    "\\boxed{}.\n\nAssistant:",
    "ends with spaces   ", "\t\tx = 1\r\n\r\n  y", "a\u00a0b\u3000c\u2028d",
    # Greek with diacritics, symbols that look like letters, and composed and decomposed letters.
    "\u1f5f\u1f7d\u1fd0\u1fd3\u1fd6\u1fdb\u1fbe \u03a9\u2126 K\u212a\u212b \u2119\u211d \u00e9e\u0301",
    "[\u2018\u2019\u201c\u201d\u3001\u3002\uff01\uff5e]_{|}~", "\u4e00\u9fa5\u0e01\u05d0\uac00\ud7a3",
    "\u00bd\u00b2\u2167\u0663\u0664 1234567.89", "I'LL we've '' 's", "\u01c5\u01bb\U00010400 \U0001f1e9\U0001f1ea",
]

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EAST_ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_LETTERS = (
    r"\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    r"\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    r"\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
    r"\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
    r"\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    r"\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
    r"\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    r"\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
    r"\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06"
    r"\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}"
    r"\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+"
)
DEEPSEEK_SIGNS = r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"


# As in the models' tokenizer.json files (Mistral Nemo, DeepSeek V3, Qwen3.5, Seed-Coder).
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_V3 = [
    r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
    r""" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
]
QWEN_3_5 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|"
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SEED_CODER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}|"
    r" ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Original:
    """The pipeline of a model's tokenizer.json. If the model's vocabulary is not available,
    `vocabulary` names another one, which shows how text is split as well."""

    def __init__(self, cuts, digits=False, whole_words=False, composed=False, vocabulary=None):
        self.cuts, self.digits = cuts, digits
        self.whole_words, self.composed = whole_words, composed
        self.vocabulary = vocabulary

    def tokenizer(self, vocab, merges, added):
        tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=self.whole_words))
        if self.composed:
            tokenizer.normalizer = normalizers.NFC()
        steps = [pre_tokenizers.Split(Regex(cut), "isolated") for cut in self.cuts]
        if self.digits:
            steps.append(pre_tokenizers.Digits(individual_digits=True))
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        tokenizer.add_special_tokens(added)
        return tokenizer


ORIGINALS = {
    "deepseek-llm": Original(
        [r"[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_SIGNS, r"\s+$", EAST_ASIAN], digits=True
    ),
    "deepseek-coder": Original([r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST_ASIAN], digits=True),
    "llama-bpe": Original([LLAMA_3], whole_words=True),
    "qwen2": Original([LLAMA_3.replace("{1,3}", "")], composed=True),
    "qwen35": Original([QWEN_3_5]),
    "tekken": Original([TEKKEN], whole_words=True, vocabulary="llama-bpe"),
    "deepseek-v3": Original(DEEPSEEK_V3, vocabulary="llama-bpe"),
    "seed-coder": Original([SEED_CODER], vocabulary="llama-bpe"),
}


def byte_of():
    """Maps GPT-2's printable characters to the bytes that they represent."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    table = {chr(byte): byte for byte in visible}
    table.update({chr(256 + index): byte for index, byte in enumerate(hidden)})
    return table


def fixture(directory, name, original):
    at = directory / f"ggml-vocab-{original.vocabulary or name}.gguf"
    fields = gguf.GGUFReader(at).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    assert fields["tokenizer.ggml.pre"].contents() == (original.vocabulary or name)
    added = [
        AddedToken(token, special=kind != 4, normalized=False)
        for token, kind in zip(tokens, kinds)
        if kind in (2, 3, 4)
    ]
    vocab = {token: id for id, token in enumerate(tokens) if kinds[id] != 5}
    tokenizer = original.tokenizer(vocab, merges, added)

    inputs = at.with_suffix(".gguf.inp").read_text(encoding="utf-8")
    inputs = inputs.split("\n__ggml_vocab_test__\n")
    outputs = at.with_suffix(".gguf.out").read_text().split("\n")
    assert len(inputs) == len(outputs)
    rows = {text: [int(id) for id in ids.split()] for text, ids in zip(inputs, outputs)}
    for text, ids in rows.items():
        if original.vocabulary:
            rows[text] = tokenizer.encode(text, add_special_tokens=False).ids
            continue
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids, (name, text)
    for text in TEXTS:
        rows[text] = tokenizer.encode(text, add_special_tokens=False).ids

    special = {token.content for token in added}
    table = byte_of()
    forms = [form for text in rows for form in (text, unicodedata.normalize("NFC", text))]
    haystack = "\0\0".join(forms).encode()
    def occurs(token):
        return token not in special and bytes(table[char] for char in token) in haystack
    kept = [id for id, token in enumerate(tokens) if kinds[id] == 1 and occurs(token)]
    names = {tokens[id] for id in kept}
    number = {id: index for index, id in enumerate(kept)}
    print(f"{name}: {len(rows)} texts, {len(kept)} of {len(tokens)} tokens")
    return {
        "pre": name,
        "tokens": " ".join(tokens[id] for id in kept),
        "merges": [
            " ".join(merge)
            for merge in merges
            if names.issuperset((*merge, "".join(merge)))
        ],
        "texts": [[text, [number[id] for id in ids]] for text, ids in rows.items()],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vocabularies", type=pathlib.Path)
    default = pathlib.Path(__file__).parent.parent / "tests/fixtures/golden/gguf_vocabularies.json"
    parser.add_argument("out", type=pathlib.Path, nargs="?", default=default)
    args = parser.parse_args()
    fixtures = [fixture(args.vocabularies, name, o) for name, o in ORIGINALS.items()]
    rows = ",\n".join(json.dumps(one, ensure_ascii=False) for one in fixtures)
    args.out.write_text(f"[\n{rows}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
