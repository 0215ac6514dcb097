"""Encoding speed on one thread: tokenizer_bench beside the Python package `tokenizers`, in turns, on the same texts.

    tokenizer_speed.py BENCH [--dir DIR] [--megabytes N]

BENCH is the program made from bench/tokenizer_bench.cpp. DIR holds tokenizer.json (default: models/pocket). The
reference encodes each text whole, in pieces of 4,096 characters, and in such pieces without offsets; its fastest way
counts.
Ours encodes it whole and starts with no word known. Exits 1 when ids differ or a text of the tokenizer's own pattern
is encoded less than twice as fast as by the reference. A second table times one "word" of a megabyte.
"""

import argparse
import array
import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers
from tokenizer_compare import CL100K, ROOT, trained, with_pattern
from tokenizers import Tokenizer

ROUNDS = 2
PIECE = 4096
SCRIPTS = ["abcdefghijklmnopqrstuvwxyz", "абвгдежзийклмнопрстуфхцчшщыэюя", "αβγδεζηθικλμνξοπρστυφχψω", "אבגדהוזחטיכלמנסעפצקרשת", "अआइईउऊकखगघचछजटडतदनपबमयरलव\u093e\u093f\u0940\u0947\u094b\u094d",
           "กขคงจชซดตถทนบปผพมยรลว\u0e34\u0e48", "漢字日本語中文学生大小山川人口手目耳足力気天空雨", "かきくけこさしすせそたちつてと", "가나다라마바사아자차카타파하각난닫", "àéîõüçñßøåæœ"]  # fmt: skip


def mixed_scripts(size, rng):
    """Words of ten scripts, repeated as Zipf's law has it."""
    words = ["".join(rng.choices(rng.choice(SCRIPTS), k=rng.randint(2, 9))) for _ in range(50_000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    text = []
    while size > 0:
        line = " ".join(rng.choices(words, weights, k=15)) + rng.choice([".\n", ", ", "! ", "。", " 2026\n"])
        size -= len(line.encode())
        text.append(line)
    return "".join(text)


def texts(n_bytes):
    prose = "\n\n".join(json.loads(line)["text"] for line in (ROOT / "models/pocket/calibration.jsonl").read_text().splitlines())
    code = "".join(path.read_text(errors="ignore") for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")))
    for name, text in (("prose", prose), ("code", code), ("ten scripts", mixed_scripts(n_bytes, random.Random(4)))):
        while len(text.encode()) < n_bytes:
            text += text
        yield name, text.encode()[:n_bytes].decode(errors="ignore")


def seconds_of(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def reference_pieces_seconds(tokenizer, text):
    pieces = [text[i : i + PIECE] for i in range(0, len(text), PIECE)]
    ways = (tokenizer.encode_batch, tokenizer.encode_batch_fast)
    return min(seconds_of(lambda: way(pieces, add_special_tokens=False))[0] for way in ways)


def measure(bench, spec, text):
    """The bench's facts with the best times of all rounds, the reference's best time, and whether the ids agree."""
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        (directory / "tokenizer.json").write_text(json.dumps(spec))
        (directory / "text").write_bytes(text.encode())
        reference = Tokenizer.from_str(json.dumps(spec))
        theirs, expected = seconds_of(lambda: reference.encode(text, add_special_tokens=False).ids)
        facts = None
        for _ in range(ROUNDS):
            theirs = min(theirs, reference_pieces_seconds(reference, text))
            arguments = [bench, directory, directory / "text", "2", "--ids", directory / "ids"]
            latest = json.loads(subprocess.run(arguments, check=True, capture_output=True).stdout)
            facts = latest if facts is None else {key: min(value, latest[key]) for key, value in facts.items()}
        ids = array.array("i", (directory / "ids").read_bytes())
    return facts, theirs, list(ids) == expected


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--dir", type=Path, default=ROOT / "models" / "pocket")
    parser.add_argument("--megabytes", type=int, default=10)
    args = parser.parse_args()
    spec = json.loads((args.dir / "tokenizer.json").read_text())
    every = list(texts(args.megabytes * 1_000_000))
    rows = [(args.dir.name, spec, True, every), ("30,000 tokens", trained(30000), True, every[1:2]), ("another pattern", with_pattern(spec, CL100K), False, every[:1])]
    print(f"tokenizers {tokenizers.__version__}; MB/s on one thread, best of {ROUNDS} rounds; the steps are parts of ours")
    print(f"{'tokenizer':16} {'text':12} {'theirs':>7} {'ours':>7} {'known':>7} {'ratio':>6}   {'utf-8':>7} {'nfc':>7} {'split':>7}  ids")
    good = True
    for name, variant, counts, chosen in rows:
        for text_name, text in chosen:
            facts, theirs, equal = measure(args.bench, variant, text)
            rate = {key: facts["bytes"] / 1e6 / value for key, value in facts.items() if key.endswith("_s")}
            ratio = theirs / facts["first_s"]
            good &= equal and (ratio >= 2 or not counts)
            print(f"{name:16} {text_name:12} {facts['bytes'] / 1e6 / theirs:7.2f} {rate['first_s']:7.1f} {rate['best_s']:7.1f} {ratio:5.1f}x   "
                  f"{rate['utf8_check_s']:7.0f} {rate['nfc_s']:7.0f} {rate['split_s']:7.1f}  {'equal' if equal else 'DIFFER'}", flush=True)  # fmt: skip
    print("\none word of 1 MB, seconds")
    rng = random.Random(8)
    for name, word in (("one letter", "a" * 1_000_000), ("random letters", "".join(rng.choices("etaoinshrdlu", k=1_000_000))), ("漢", "漢" * 333_333)):
        facts, theirs, equal = measure(args.bench, spec, word)
        good &= equal and facts["first_s"] < 2
        print(f"{name:16} theirs {theirs:6.3f}  ours {facts['first_s']:6.3f}  ids {'equal' if equal else 'DIFFER'}", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
