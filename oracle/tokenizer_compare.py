"""Compares `qround tokenize` and `detokenize` with the Python package `tokenizers` on random texts and ids.

    tokenizer_compare.py PROGRAM [--dir DIR]... [--texts N] [--seed N]

PROGRAM is the qround executable. DIR holds a tokenizer.json (default: models/pocket). Besides each DIR itself, variants
of it are compared: other split patterns, flags of added tokens, no normalizer, ignore_merges, and a tokenizer with
30,000 tokens trained here on Python's own library. Exits 1 at the first difference.
"""

import argparse
import copy
import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parent.parent
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LITTLE = r"\d|[a-c]*"  # matches nothing at most places: gaps and empty matches
POOLS = [
    "abc XYZ 019 .,;:!?\n\t'\"<>|/\\_-", "éàüñßøåÆŁſKÅ", "漢字仮名ひらカタ\u3099", "אבגדה\u05b0\u05b8", "กขค\u0e34\u0e48",
    "a\u0301\u0323\u0308 o\u031b\u0316", "🙂🎉👍🏽\u200d♀️", " \u00a0\u2009\u3000\r\n\x85\u2028", "'s'S'ſ'll'LL'rE'VE'M'd'T",
    "\u1100\u1161\u11a8\u11a7\uac00\u1175", "क\u093c\u094dष\u0958", "\U0001e130\u08d3\u1df6\U00011935\U00011930\u0316",
    "\u1c89\ua7cb\U00016d40\u0897\U00010d40", "\x00\x01\x7f\ufffd\U0010ffff",
]


def random_text(rng, contents):
    pieces = []
    for _ in range(rng.randint(0, 40)):
        kind = rng.random()
        if kind < 0.08 and contents:
            content = rng.choice(contents)
            pieces.append(content if rng.random() < 0.8 else content[: rng.randint(0, len(content))])
        elif kind < 0.2:
            code = rng.randrange(0x110000 if rng.random() < 0.3 else 0x3000)
            pieces.append("" if 0xD800 <= code <= 0xDFFF else chr(code))
        else:
            pool = rng.choice(POOLS)
            pieces.append("".join(rng.choice(pool) for _ in range(rng.randint(1, 8))))
    return "".join(pieces)


def added(content, token_id, **flags):
    return {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False} | flags


def with_pattern(spec, *patterns):
    spec = copy.deepcopy(spec)
    steps = [{"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in patterns]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": not patterns}
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps + [byte_level]} if patterns else byte_level
    return spec


def variants(spec):
    yield "as it is", spec
    yield "Qwen2's pattern", with_pattern(spec, QWEN2)
    yield "three digits a word", with_pattern(spec, CL100K)
    yield "two patterns", with_pattern(spec, LITTLE, r"\p{M}+")
    yield "GPT-2's pattern", with_pattern(spec)
    bare = copy.deepcopy(spec)
    bare["normalizer"] = None
    bare["model"]["ignore_merges"] = True
    bare["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m for m in bare["model"]["merges"]]
    yield "no normalizer, ignore_merges", bare
    flags = copy.deepcopy(spec)
    n = max(list(spec["model"]["vocab"].values()) + [t["id"] for t in spec["added_tokens"]]) + 1
    flags["added_tokens"] += [
        added("[L]", n, lstrip=True), added("[R]", n + 1, rstrip=True, special=True), added("[LR]", n + 2, lstrip=True, rstrip=True),
        added("[N\u00e9]", n + 3, normalized=True), added("e\u0301e", n + 4, normalized=True, special=True), added("a b", n + 5),
        added("[L][", n + 6), added("漢字", n + 7, normalized=True, lstrip=True), added(" ", n + 8, normalized=True), added("\u0120\u0120Q", n + 9),
    ]  # fmt: skip
    yield "flags of added tokens", flags


def trained(size):
    """A tokenizer of the family's kind with a vocabulary of real size."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    split = pre_tokenizers.Split(tokenizers.Regex(QWEN2), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train(sorted(map(str, Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))), trainer)
    tokenizer.add_special_tokens(["<|end|>"])
    return json.loads(tokenizer.to_str())


def run(program, arguments, lines):
    done = subprocess.run([program, *arguments], input="\n".join(map(json.dumps, lines)) + "\n", capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{program} {' '.join(arguments)} failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def check(name, inputs, ours, reference, key):
    assert len(inputs) == len(ours), f"{name}: {len(inputs)} lines in, {len(ours)} out"
    for given, mine, theirs in zip(inputs, ours, reference):
        if mine.get(key) != theirs:
            sys.exit(f"{name}\n  given     {given!a}\n  ours      {mine!a}\n  reference {theirs!a}")


def compare(program, name, spec, n_texts, rng):
    reference = Tokenizer.from_str(json.dumps(spec))
    contents = [t["content"] for t in spec["added_tokens"]]
    texts = [random_text(rng, contents) for _ in range(n_texts)]
    ids = [reference.encode(text, add_special_tokens=False).ids for text in texts]
    vocab_size = reference.get_vocab_size()
    random_ids = [[rng.randrange(vocab_size + 3) for _ in range(rng.randint(0, 30))] for _ in range(n_texts)]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "tokenizer.json").write_text(json.dumps(spec))
        check(name + ", encode", texts, run(program, ["tokenize", directory], texts), ids, "ids")
        for skip in (False, True):
            lines = [{"ids": x} for x in ids + random_ids]
            expected = [reference.decode(x["ids"], skip_special_tokens=skip) for x in lines]
            ours = run(program, ["detokenize", directory] + ["--skip-special"] * skip, lines)
            check(f"{name}, decode, skip_special={skip}", lines, ours, expected, "text")
    print(f"equal: {name}: {n_texts} texts, {sum(map(len, ids))} ids, {2 * len(lines)} decoded", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--dir", action="append", type=Path)
    parser.add_argument("--texts", type=int, default=2000, help="random texts for each variant")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    print(f"tokenizers {tokenizers.__version__}, seed {args.seed}")
    for directory in args.dir or [ROOT / "models" / "pocket"]:
        spec = json.loads((directory / "tokenizer.json").read_text())
        for name, variant in variants(spec):
            compare(args.program, f"{directory.name}, {name}", variant, args.texts, rng)
    compare(args.program, "30,000 tokens", trained(30000), args.texts, rng)


if __name__ == "__main__":
    main()
