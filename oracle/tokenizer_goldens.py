"""Writes tests/data/tokenizer/variants.json: ids and decoded texts of variants of the pocket tokenizer, by `tokenizers`.

    tokenizer_goldens.py > tests/data/tokenizer/variants.json

A variant is what differs from models/pocket/tokenizer.json; the test applies it and compares.
tests/data/tokenizer/texts.json holds the same for the tokenizer as it is (254 texts, tokenizers 0.23.3).
"""

import json
import random

import tokenizers
from tokenizer_compare import ROOT, random_text, variants
from tokenizers import Tokenizer

TEXTS = [
    "", "I'll say it's 'quoted', don't you'RE x'\u017f", "a  b\t\tc \n\n d   \r\n e", "1234567890 ½ Ⅷ ²", "e\u0301 \u1100\u1161\u11a8 \uac00\u11a7x क\u093c \u212b",
    "\u4e00\U0001e130\u0316 a\U0001e130\u0316 \U00011935\U00011930 \u0958\u0316\u0301", "\u1c89\ua7cb x\u0897 \U00016d40\U00010d40", "<|im_start|>user\nHi <|im_end|> <tool_call>", "[L]  [R]  [LR]  x [L][R] \u2003[L]\u2003[R]\u2003",
    "Ne\u0301 [Ne\u0301] [N\u00e9] ee\u0301e e\u0301e a b 漢字 漢 字", " [L][L][ [L] [", "<|im_sta<|im_end|>rt|>", "def f(x):\n    return x**2  # ²\n", "𝒳𝓎𝟙 🙂👍🏽 \u00a0\u3000x",
]  # fmt: skip

rng = random.Random(7)
spec = json.loads((ROOT / "models" / "pocket" / "tokenizer.json").read_text())
result = {"tokenizers": tokenizers.__version__, "variants": []}
for name, variant in variants(spec):
    reference = Tokenizer.from_str(json.dumps(variant))
    contents = [t["content"] for t in variant["added_tokens"]]
    rows = []
    for text in TEXTS + [random_text(rng, contents) for _ in range(8)]:
        ids = reference.encode(text, add_special_tokens=False).ids
        decoded, skipped = (reference.decode(ids, skip_special_tokens=skip) for skip in (False, True))
        rows.append({"text": text, "ids": ids, "decoded": decoded, "decoded_skip_special": skipped})
    changes = {key: variant[key] for key in ("normalizer", "pre_tokenizer", "added_tokens") if variant[key] != spec[key]}
    if variant["model"] != spec["model"]:
        changes["ignore_merges"] = variant["model"]["ignore_merges"]
        changes["merges_as_strings"] = isinstance(variant["model"]["merges"][0], str)
    result["variants"].append({"name": name, "changes": changes, "texts": rows})
print(json.dumps(result))
