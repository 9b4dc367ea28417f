"""Compares tokens with those of the `tokenizers`, `tiktoken` and `sentencepiece` wheels:

compare_tokenizers.py TOKENIZE WORK_FOLDER TEXT_FILE [CASE...]

Tokenizers are trained here, by the first wheel, with the patterns of known models. Prints the texts and code points
that differ; fails if a text does.
"""

import base64
import json
import os
import random
import subprocess
import sys
import time
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core

import sentencepiece
import tiktoken
from tiktoken_ext import openai_public
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

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


# Whose compatibility forms or lower cases Unicode has changed since the wheel's tables, or utf8proc's, were made.
CHANGED = """1C89 32FF A7CB-A7CC A7CE A7D2 A7D4 A7DA A7DC A7F2-A7F4 AB69 10781-10785 10787-107B0 107B2-107BA 10D50-10D65
16EA0-16EB8 1E030-1E06D 1F16C 1FBF0-1FBF9"""


def changed_code_points():
    bounds = [[int(end, 16) for end in part.split("-")] for part in CHANGED.split()]
    return {c for ends in bounds for c in range(ends[0], ends[-1] + 1)}


def random_texts(count, rng):
    alphabets = [
        [chr(c) for c in range(32, 127)] + list("\n\t\r "),
        list("ab AB'sSdD1 2\n\r\t\u00a0\u3000") + ["'ll", "'ve", "   "],
        [chr(c) for c in range(0x4e00, 0x4e80)] + list("\u3002\uff0c \n"),
        [chr(c) for c in range(0x600, 0x700)] + [" "],
        [chr(c) for c in range(0x300, 0x36f)] + list("aeiou ") + ["\u00e9", "\u1100", "\u1161"],
        ["\U0001f468", "\u200d", "\U0001f469", "\ufe0f", "\U0001f3fd", " ", "a", "\u2764"],
    ]
    changed = changed_code_points()
    everything = [chr(c) for c in range(0x110000)
                  if not 0xD800 <= c < 0xE000 and c not in changed and unicodedata.category(chr(c)) != "Cn"]
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


SENTENCEPIECE = {
    "unigram": {"model_type": "unigram", "user_defined_symbols": ["word", "<Both>", "\u2581\u2581"]},
    "unigram_bytes": {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "identity",
                      "remove_extra_whitespaces": False, "add_dummy_prefix": False},
    "bpe": {"model_type": "bpe", "user_defined_symbols": ["word", "<Both>"], "normalization_rule_name": "nfkc_cf"},
    "bpe_bytes": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
                  "remove_extra_whitespaces": False, "split_digits": True, "allow_whitespace_only_pieces": True},
}


def bpe_trainer(is_byte_level):
    special = [] if is_byte_level else ["<unk>"] + [f"<0x{b:02X}>" for b in range(256)]
    alphabet = pre_tokenizers.ByteLevel.alphabet() if is_byte_level else []
    return trainers.BpeTrainer(vocab_size=8000, special_tokens=special, initial_alphabet=alphabet, limit_alphabet=1000,
                               show_progress=False)


def train_json(name, lines):
    """A tokenizer.json: its path, encode, decode."""
    tokenizer = TOKENIZERS[name]
    tokenizer.train_from_iterator(lines, bpe_trainer(not tokenizer.model.byte_fallback))
    text = json.loads(tokenizer.to_str())
    text["added_tokens"] = [t for t in text["added_tokens"] if t["content"] == "<unk>"]
    text["model"]["ignore_merges"] = name == "llama3"
    tokenizer = Tokenizer.from_str(json.dumps(text))
    tokenizer.add_tokens(ADDED)
    path = os.path.join(WORK, name + ".json")
    tokenizer.save(path)
    return path, lambda text: tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.decode


def train_ranks(name, lines):
    """Ranks of tiktoken, of the encoding `name`: their path, encode, decode."""
    openai_public.load_tiktoken_bpe = openai_public.data_gym_to_mergeable_bpe_ranks = lambda *args, **kwargs: {}
    pattern = openai_public.ENCODING_CONSTRUCTORS[name]()["pat_str"]
    tokenizer = byte_level(LLAMA3)
    tokenizer.train_from_iterator(lines, bpe_trainer(True))
    spelling = {c: b for b, c in enumerate(bytes_to_unicode())}
    tokens = [bytes([b]) for b in range(256)]
    for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        token = bytes(spelling[c] for c in token)
        if len(token) > 1:
            tokens.append(token)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    path = os.path.join(WORK, name + ".tiktoken")
    with open(path, "w") as file:
        for token, rank in ranks.items():
            file.write(f"{base64.b64encode(token).decode()} {rank}\n")
    encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return path, encoding.encode_ordinary, encoding.decode


def train_sentencepiece(name, lines):
    """A SentencePiece model: its path, encode, decode."""
    work = os.path.join(WORK, "lines.txt")
    with open(work, "w", encoding="utf-8") as file:
        file.writelines(line for line in lines if line.strip())
    prefix = os.path.join(WORK, name)
    sentencepiece.SentencePieceTrainer.train(input=work, model_prefix=prefix, vocab_size=4000, minloglevel=2,
                                             character_coverage=0.999, **SENTENCEPIECE[name])
    model = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    return prefix + ".model", model.encode, model.decode


def bytes_to_unicode():
    own = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    others = iter(range(256, 512))
    return [chr(b) if b in own else chr(next(others)) for b in range(256)]


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


def compare(name, trained, texts, code_points):
    path, encode, decode = trained

    def differs(text, ours):
        tokens = encode(text)
        # A byte-level decoder of the wheel takes the letters of an added token for spelt bytes.
        has_quirk = "\u00e9t\u00e9" in unicodedata.normalize("NFC", text)
        return tokens != ours["tokens"] or (decode(tokens) != ours["text"] and not has_quirk)

    failures = 0
    for text, ours in zip(texts, tokens_of(path, texts)):
        if not differs(text, ours):
            continue
        failures += 1
        if failures <= 5:
            print(f"{name}: {text[:80]!r}\n  theirs {encode(text)[:40]} {decode(encode(text))[:80]!r}\n"
                  f"  ours   {ours['tokens'][:40]} {ours['text'][:80]!r}")
    # Each code point between letters, digits, spaces and apostrophes shows its class to the patterns.
    framed = [f"a{chr(c)}b {chr(c)} 1{chr(c)}2{chr(c)}\n '{chr(c)}s {chr(c)}{chr(c)}" for c in code_points]
    odd = [c for c, text, ours in zip(code_points, framed, tokens_of(path, framed)) if differs(text, ours)]
    print(f"{name}: {failures} of {len(texts)} texts and {len(odd)} of {len(code_points)} code points differ {ranges(odd)}",
          flush=True)
    return failures


def compare_speed(name, trained, text):
    """Pairs of processor times of one core each, ours and the wheel's, of the same documents."""
    path, encode, _ = trained
    work = os.path.join(WORK, "documents.txt")
    with open(work, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    documents = [document for document in text.split("\n\n") if document]
    ratios = []
    for _ in range(5):
        count, ours = subprocess.run([TOKENIZE, "--time", path, work], check=True, capture_output=True,
                                     text=True).stdout.split()
        start = time.process_time()
        theirs_count = sum(len(encode(document)) for document in documents)
        theirs = time.process_time() - start
        assert int(count) == theirs_count, f"{name}: {count} tokens, the wheel has {theirs_count}"
        ratios.append(theirs / float(ours))
        print(f"{name}: {len(text.encode()) / 1e6:.1f} MB: ours {float(ours):.2f} s, the wheel's {theirs:.2f} s, "
              f"{ratios[-1]:.1f} times", flush=True)
    print(f"{name}: {sorted(ratios)[len(ratios) // 2]:.1f} times as fast at the median")


def main():
    rng = random.Random(1)
    with open(TEXT_FILE, encoding="utf-8", errors="replace", newline="") as file:
        corpus = file.read()
    sample = corpus[:10_000_000]
    lines = sample[:2_000_000].splitlines(keepends=True) + SAMPLES * 20
    texts = SAMPLES + ADDED_TEXTS + random_texts(2000, rng) + [sample[i:i + 100_000] for i in range(0, len(sample), 100_000)]
    code_points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    failures = 0
    for name in sys.argv[4:] or [*TOKENIZERS, *SENTENCEPIECE, "gpt2.tiktoken", "cl100k_base", "o200k_base"]:
        if name in TOKENIZERS:
            trained = train_json(name, lines)
        elif name in SENTENCEPIECE:
            trained = train_sentencepiece(name, lines)
        else:
            trained = train_ranks(name.removesuffix(".tiktoken"), lines)
        failures += compare(name, trained, texts, code_points)
        if name in ("gpt2", "llama3", "cl100k_base"):
            compare_speed(name, trained, corpus[:100_000_000])
    sys.exit(1 if failures else 0)


main()
