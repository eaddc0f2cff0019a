#!/usr/bin/env python3
"""Makes the fixtures of tests/external/golden_real.rs and golden_text.rs: values that Hugging Face transformers
computes in f32 for two real GGUF files, and their original tokenizers' results for difficult texts.

    python scripts/golden_real.py MODELS_DIR [OUT]    (OUT: tests/fixtures/golden beside this script)

MODELS_DIR contains SmolLM2-135M-Instruct.Q4_1.gguf and qwen2.5-coder-0.5b-instruct-q4_k_m.gguf.
Needs torch, transformers, tokenizers and gguf. Writes real_smollm2.json and real_qwen2.json:

  greedy     prompts as text and tokens; the greedy continuation; the position in it at which the two
             best logits were closest, and their difference: [position, gap]
  logits     for some positions of some prompts (the token sequences of `greedy`): the largest
             logits as [ids, values], the log-sum-exp of all logits, and their largest magnitude
  texts      texts, their tokens without added ones, and the decoded tokens
  chats      a system message, a question and the text that the chat template renders, with the
             start of the answer

The tokenizers are built from the files' vocabulary and merges and the original model's pipeline. The
conversion in transformers 5.23 differs from this pipeline: it omits the splitting into single digits
for SmolLM2 (`tokenizer.ggml.pre` = "smollm"), and the normalisation to NFC for Qwen2.5. The script
counts the texts that this affects.
"""

import argparse
import json
import pathlib

import gguf
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

MODELS = {
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "qwen2": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
}
VERSIONS = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"
NEW_TOKENS = 64
TOP = 32

CHAT_PROMPTS = [
    "A baker sells 24 rolls in the morning and twice as many in the afternoon. "
    "How many rolls does he sell in the whole day?",
    "What is the derivative of $x^3 - 4x + 7$? Explain briefly.",
    "Solve for x: 3x + 5 = 20. Put your final answer within \\boxed{}.",
    "Write a Python function that returns the n-th Fibonacci number.",
    "Übersetze ins Englische: „Der Zug fährt um 17:45 Uhr ab.“",
]
RAW_PROMPTS = [
    "The capital of France is",
    "def quicksort(items):\n    if len(items) <= 1:\n",
    "1, 1, 2, 3, 5, 8, 13,",
    "Question: Ann has 5 boxes with 12 pencils each and gives away 7 pencils. "
    "How many are left?\nAnswer:",
    "Es war einmal ein König, der",
]

TEXTS = [
    "", "a", " ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "\r\n\r\n  x",
    "Hello, world!", " Hello", "  Hello", "Hello ", "Hello  ", "Hello   world",
    "\tif x:\n\t\treturn y\n", "    indented by four", "a\n\n\nb", "trailing newline\n",
    "12345", " 12345", "  7", "3.14159", "1,000,000", "x=10y=20", "2024-11-22T15:04:05Z",
    "1234567890" * 12, "v1.2.3-rc4", "0x1F 0b101 1e-9",
    "½ ² ³ Ⅷ ٣٤٥ 四十二 १२३",
    "I'm you're he'll we've they'd it's don't", "I'M YOU'RE HE'LL", "'tis ’s ''s",
    "<|im_start|>user", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "text<|im_end|>text", "text <|im_end|> text", "<|im_end|>  two", "<|endoftext|><|endoftext|>",
    "<|im_start", "<|im_start|>\n<|im_start|>", "< |im_start|>", "<tool_call>\n{}\n</tool_call>",
    "<repo_name>a<file_sep>b", "<|fim_prefix|>x<|fim_suffix|>y<|fim_middle|>", "[PAD151665]",
    "你好，世界！今天天气很好。", "日本語のテキストとカタカナ", "한국어 문장입니다.",
    "مرحبا بالعالم", "שלום עולם 123", "Привет, мир", "สวัสดีชาวโลก", "नमस्ते दुनिया",
    "👋🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪", "🙂🙂🙂", "é e\u0301 ñ n\u0303 Å \u212b", "ﬁ ﬂ ① ｆｕｌｌ",
    "Z̷̧͎a̵̢͝l̸̡g̴o", "zero\u200bwidth\u200djoin\ufeff", "nbsp\u00a0\u00a0here \u3000 wide",
    "\u0000\u0001\u001b[31m\u007f\u0085", "Ġhello Ċ ġ", "naïve café — “quotes” … ‘x’",
    "fn main() { println!(\"{}\", x?.y::<Vec<_>>()); } // end", "a->b != c && d||e; x+=1;;",
    "https://example.com/a?b=c&d=%20#e", "<div class=\"x\">&nbsp;</div>", "#include <stdio.h>\n#define X\t1",
    "$\\frac{1}{2}+\\sqrt{3}\\,\\text{cm}^2$ \\boxed{42}", "$$\\int_0^1 x^2\\,dx=\\tfrac13$$",
    "CamelCaseWordsAndSNAKE_CASE", "antidisestablishmentarianism", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "====----____****", "!!!???...,,,", "…………", "\U0001f9d1\u200d\U0001f680 \U00010348 \U000e0041",
    "\u2028line\u2029para\u000b\u000c", "end\n \n\t\n  x", "a  b   c    d     e",
]

# The system message, if any, and the question.
CHATS = [
    (None, "What is 2+2?"),
    ("You are terse.", "What is 2+2?"),
    ("", "  leading and trailing spaces  \n"),
    (None, "two\nlines\n\nand 'quotes' \"double\" & <b>ünïcode</b> 👋"),
    ("{{ x }}", "{{ braces }} {% if %} {# comment #} \\n"),
    (None, "a question that says <|im_end|>\n<|im_start|>system"),
]


def tokenizer_of(reader):
    """Returns the original model's tokenizer with the file's vocabulary."""
    field = lambda name: reader.fields[f"tokenizer.ggml.{name}"].contents()
    tokens, kinds = field("tokens"), field("token_type")
    merges = [tuple(merge.split(" ")) for merge in field("merges")]
    # Control and user-defined tokens are recognised in text first, unused ones never.
    added = [(t, k) for t, k in zip(tokens, kinds) if k in (3, 4)]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    if field("pre") == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ])
    elif field("pre") == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
        split = (
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(split), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
    else:
        raise SystemExit(f"no pipeline is known for {field('pre')}")
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in added:
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=kind == 3)])
    assert tokenizer.get_vocab_size() == len(tokens)
    return tokenizer


def check_weights(model, reader):
    """Checks that the weights in transformers equal those that the gguf package dequantizes. (Llama's query and key
    rows are restored from the order of interleaved rotary pairs.)"""
    config = model.config
    arch = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2}[config.model_type]
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    held = {tensor.name: tensor for tensor in reader.tensors}
    for name, parameter in model.named_parameters():
        tensor = held.pop(names.get_name(name, try_suffixes=(".weight", ".bias")))
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if config.model_type == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            values = (values.reshape(heads, -1, 2, values.shape[-1])
                      .swapaxes(1, 2).reshape(values.shape))
        assert torch.equal(parameter.data, torch.from_numpy(values.copy())), name
    assert not held, list(held)


@torch.no_grad()
def greedy(model, prompt):
    """Returns the most probable token of each step, also after the end of sequence, and the closest decision."""
    out = model(torch.tensor([prompt]), use_cache=True)
    tokens, closest = [], (0, float("inf"))
    while True:
        best = out.logits[0, -1].topk(2)
        gap = float(best.values[0] - best.values[1])
        if gap < closest[1]:
            closest = (len(tokens), gap)
        tokens.append(int(best.indices[0]))
        if len(tokens) == NEW_TOKENS:
            return tokens, [closest[0], round(closest[1], 6)]
        last = torch.tensor([tokens[-1:]])
        out = model(last, past_key_values=out.past_key_values, use_cache=True)


@torch.no_grad()
def logits_at(model, prompt, tokens, positions):
    logits = model(torch.tensor([prompt + tokens]), use_cache=False).logits[0]
    rows = []
    for position in positions:
        row = logits[position]
        best = row.topk(TOP)
        rows.append({
            "position": position,
            "ids": best.indices.tolist(),
            "values": [round(v, 6) for v in best.values.tolist()],
            "logsumexp": round(float(row.double().logsumexp(0)), 6),
            "largest": round(float(row.abs().max()), 6),
        })
    return rows


def make(path, name):
    reader = gguf.GGUFReader(path)
    tokenizer = tokenizer_of(reader)
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)

    texts, different = [], []
    for text in TEXTS:
        ids = encode(text)
        if ids != theirs.encode(text, add_special_tokens=False):
            different.append(text)
        texts.append({"text": text, "tokens": ids, "decoded": tokenizer.decode(ids)})
    print(f"{name}: transformers' own conversion of the tokenizer differs for {different}")

    chats = []
    for system, question in CHATS:
        messages = [] if system is None else [{"role": "system", "content": system}]
        messages.append({"role": "user", "content": question})
        text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        chats.append({"system": system, "question": question, "text": text})

    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager").eval()
    check_weights(model, reader)

    prompts = [
        theirs.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
        for text in CHAT_PROMPTS
    ] + RAW_PROMPTS
    questions = CHAT_PROMPTS + [None] * len(RAW_PROMPTS)
    rows, logits = [], []
    for index, (question, text) in enumerate(zip(questions, prompts)):
        prompt = encode(text)
        tokens, closest = greedy(model, prompt)
        rows.append({"question": question, "text": text, "prompt": prompt, "tokens": tokens,
                     "closest": closest, "decoded": tokenizer.decode(tokens)})
        print(f"{name} {index}: closest decision {closest}: {tokenizer.decode(tokens)[:70]!r}")
        if index % 3 == 0:
            last = len(prompt) - 1
            positions = sorted({0, 1, last // 2, last, last + 1, last + NEW_TOKENS // 2})
            logits.append({"prompt": index, "rows": logits_at(model, prompt, tokens, positions)})
    return {
        "file": path.name,
        "made_with": VERSIONS,
        "greedy": rows, "logits": logits, "texts": texts, "chats": chats,
    }


def dump(value):
    """Writes one line per entry of each list, so that diffs are small and readable."""
    parts = []
    for key, entry in value.items():
        if isinstance(entry, list):
            lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in entry)
            parts.append(f"{json.dumps(key)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(entry)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument(
        "out", nargs="?", type=pathlib.Path, default=here.parent / "tests/fixtures/golden")
    parser.add_argument("--only", choices=MODELS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name, file in MODELS.items():
        if arguments.only in (None, name):
            fixture = make(arguments.models / file, name)
            (arguments.out / f"real_{name}.json").write_text(dump(fixture))


if __name__ == "__main__":
    main()
