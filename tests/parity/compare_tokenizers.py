"""Compares tokens with those of the `tokenizers` wheel: compare_tokenizers.py TOKENIZE WORK_FOLDER TEXT_FILE.

Tokenizers are trained here, by the wheel, with the patterns of known models.
"""

import json
import os
import random
import subprocess
import sys
import unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models,
                        normalizers, pre_tokenizers, trainers)

TOKENIZE, WORK, TEXT_FILE = sys.argv[1:4]

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")

SAMPLES = """def f(x: int) -> str:\n\treturn f"{x!r}"  # comment\n\n\nclass A:\n    pass\n
for (int i = 0; i < 10; ++i) { printf("%d\\n", i); }\r\n// done\r\n
I'm sure it's what they'LL say: WE'VE 1234567 things, don't we?  Don't\u2019t.
\u4f60\u597d\uff0c\u4e16\u754c\uff01\u3053\u3093\u306b\u3061\u306f\u4e16\u754c\u3002 \uc548\ub155\ud558\uc138\uc694 \uc138\uacc4
\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0643\u064e\u064a\u0652\u0641\u064e \u062d\u064e\u0627\u0644\u064f\u0643\u064e\u061f \u0661\u0662\u0663
\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd ok \u2764\ufe0f
na\u00efve cafe\u0301 \ufb01ne \u212b ngstr\u00f6m \u1e9b\u0323 \u0958 \uac00\u11a8 \u1100\u1161\u11a8
\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u0130stanbul \u017ftrange \u212aelvin '\u017f '\u017fs
""".split("\n") + ["", " ", "  ", "\n", "a", " a", "a ", "\t\t x\n\n \n y", "\x00\x01\x7f", "a\u0085b\u00a0c\u180ed\u2028e\u3000f"]


def random_texts(count, rng):
    alphabets = [
        [chr(c) for c in range(32, 127)] + list("\n\t\r "),
        list("ab AB'sSdD1 2\n\r\t\u00a0\u3000") + ["'ll", "'ve", "   "],
        [chr(c) for c in range(0x4e00, 0x4e80)] + list("\u3002\uff0c \n"),
        [chr(c) for c in range(0x600, 0x700)] + [" "],
        [chr(c) for c in range(0x300, 0x36f)] + list("aeiou ") + ["\u00e9", "\u1100", "\u1161"],
        ["\U0001f468", "\u200d", "\U0001f469", "\ufe0f", "\U0001f3fd", " ", "a", "\u2764"],
    ]
    everything = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn"]
    alphabets.append(everything)
    texts = []
    for _ in range(count):
        alphabet = rng.choice(alphabets)
        texts.append("".join(rng.choices(alphabet, k=rng.randrange(1, 60))))
    texts += ["".join(rng.choices(alphabet, k=20000)) for alphabet in alphabets]
    return texts


def byte_level(split, normalizer=None):
    steps = [pre_tokenizers.Split(Regex(split), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gpt2(prefix_space=False):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def metaspace(scheme, split=True):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Metaspace(prepend_scheme=scheme), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def llama2():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def mixed():
    tokenizer = byte_level(LLAMA3, normalizers.Sequence([
        normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(), normalizers.Replace(Regex("x+"), "y")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split("e", "merged_with_previous"),
        pre_tokenizers.Split("o", "merged_with_next"), pre_tokenizers.Split("l", "contiguous"),
        pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel(False)])
    return tokenizer


ADDED = [
    AddedToken("<|endoftext|>", special=True),
    AddedToken("<|left|>", lstrip=True, special=True),
    AddedToken("<|right|>", rstrip=True, special=True),
    AddedToken("word", single_word=True, normalized=False),
    AddedToken("<Both>", lstrip=True, rstrip=True, normalized=True),
    AddedToken("    ", normalized=False),
    AddedToken("\u00e9t\u00e9", normalized=True),
]
ADDED_TEXTS = ["a <|left|> b  <|right|>  c", "word sword words word_ (word) word", "x<Both>y <Both> z  <both> ",
               "a        b     c", "<|endoftext|><|endoftext|> a<|endo", "\u00e9t\u00e9 e\u0301te\u0301 \u00c9T\u00c9", " <|right|> <|left|> ",
               "<|right|>    x", "word<|left|>word"]

TOKENIZERS = {
    "gpt2": gpt2(),
    "gpt2_prefix_space": gpt2(True),
    "llama3": byte_level(LLAMA3),
    "qwen": byte_level(QWEN, normalizers.NFC()),
    "metaspace_always": metaspace("always"),
    "metaspace_first": metaspace("first"),
    "metaspace_never": metaspace("never", split=False),
    "llama2": llama2(),
    "mixed": mixed(),
}


def train(name, tokenizer, lines):
    is_byte_level = tokenizer.model.byte_fallback is False
    special = ["<unk>"] + [f"<0x{b:02X}>" for b in range(256)] if not is_byte_level else []
    alphabet = pre_tokenizers.ByteLevel.alphabet() if is_byte_level else []
    trainer = trainers.BpeTrainer(vocab_size=4000 if not is_byte_level else 8000, special_tokens=special,
                                  initial_alphabet=alphabet, limit_alphabet=1000, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    text = json.loads(tokenizer.to_str())
    text["added_tokens"] = [t for t in text["added_tokens"] if t["content"] == "<unk>"]
    if name == "llama3":
        text["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(text))
    tokenizer.add_tokens(ADDED)
    path = os.path.join(WORK, name + ".json")
    tokenizer.save(path)
    return tokenizer, path


def tokens_of(path, texts):
    work = os.path.join(WORK, "texts.json")
    with open(work, "w") as file:
        json.dump(texts, file)
    lines = subprocess.run([TOKENIZE, path, work], check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def ranges(code_points):
    parts, start = [], None
    for c in code_points:
        if start is None or c != end + 1:
            if start is not None:
                parts.append((start, end))
            start = c
        end = c
    if start is not None:
        parts.append((start, end))
    return " ".join(f"U+{a:04X}" if a == b else f"U+{a:04X}-{b:04X}" for a, b in parts)


def compare(name, tokenizer, path, texts, code_points):
    def differs(text, ours):
        theirs = tokenizer.encode(text, add_special_tokens=False).ids
        return theirs != ours["tokens"] or (tokenizer.decode(theirs) != ours["text"])

    failures = 0
    for text, ours in zip(texts, tokens_of(path, texts)):
        if differs(text, ours):
            failures += 1
            if failures <= 5:
                encoding = tokenizer.encode(text, add_special_tokens=False)
                print(f"{name}: {text[:80]!r}\n  theirs {encoding.ids[:40]} {tokenizer.decode(encoding.ids)[:80]!r}\n"
                      f"  ours   {ours['tokens'][:40]} {ours['text'][:80]!r}")
    # Each code point between letters, digits, spaces and apostrophes shows its class to the patterns.
    framed = [f"a{chr(c)}b {chr(c)} 1{chr(c)}2{chr(c)}\n '{chr(c)}s {chr(c)}{chr(c)}" for c in code_points]
    odd = [c for c, text, ours in zip(code_points, framed, tokens_of(path, framed)) if differs(text, ours)]
    print(f"{name}: {failures} of {len(texts)} texts differ; {len(odd)} of {len(code_points)} code points: {ranges(odd)[:1500]}", flush=True)
    return failures


def main():
    rng = random.Random(1)
    with open(TEXT_FILE, encoding="utf-8", errors="replace") as file:
        corpus = file.read(10_000_000)
    lines = corpus[:2_000_000].splitlines(keepends=True) + SAMPLES * 20
    texts = SAMPLES + ADDED_TEXTS + random_texts(2000, rng) + [corpus[i:i + 100_000] for i in range(0, len(corpus), 100_000)]
    code_points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    failures = 0
    for name in sys.argv[4:] or TOKENIZERS:
        tokenizer, path = train(name, TOKENIZERS[name], lines)
        failures += compare(name, tokenizer, path, texts, code_points)
    sys.exit(1 if failures else 0)


main()
