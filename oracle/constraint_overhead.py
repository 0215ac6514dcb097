#!/usr/bin/env python3
"""What constrained decoding costs per token at the vocabulary of Qwen3.6, 248,320.

    pip install tokenizers torch safetensors jsonschema
    python3 oracle/constraint_overhead.py FOLDER [TEXT_FOLDER]

Makes in FOLDER, once: a byte-level BPE of 248,320 tokens trained on the text files of TEXT_FOLDER, and a random int4 model at the 35B's widths with
four layers of 16 experts (8 are used per token, as in the 35B) and that vocabulary. Then serves it without drafts and asks for answers by random
schemas (those of server_schemas.py), each followed by the same request without its schema and of the same length. The time per token is the server's
own (`timings`), which begins with the first token. Both sample as the model's card says, with top_k 20. With four layers instead of 40 a token takes far less time than the 35B's, so the share is an upper bound.
"""
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import urllib.request
from pathlib import Path

from server_process import ROOT, running_server
from server_schemas import random_schema

VOCAB, ANSWERS, TOKENS = 248_320, 20, 32
QROUND = os.environ.get("QROUND", os.path.join(ROOT, "build/release/qround"))
POCKET = Path(ROOT) / "models/pocket"


def texts(folder):
    suffixes = {".py", ".txt", ".md", ".json", ".html", ".po", ".h", ".js"}
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix in suffixes and p.is_file() and p.stat().st_size < 500_000)
    random.Random(1).shuffle(paths)
    left = 250_000_000
    for path in paths:
        text = path.read_text(errors="ignore")
        left -= len(text)
        if left < 0:
            return
        yield text


def train(folder, out):
    """The pocket model's tokenizer with another vocabulary."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
    pocket = Tokenizer.from_file(str(POCKET / "tokenizer.json"))
    added = [token for _, token in sorted(pocket.get_added_tokens_decoder().items())]
    tokenizer = Tokenizer(models.BPE())
    for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        setattr(tokenizer, part, getattr(pocket, part))
    tokenizer.train_from_iterator(texts(folder), trainers.BpeTrainer(
        vocab_size=VOCAB - len(added), min_frequency=1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    for token in added:
        token = AddedToken(token.content, special=token.special, normalized=False)
        tokenizer.add_special_tokens([token]) if token.special else tokenizer.add_tokens([token])
    assert tokenizer.get_vocab_size() == VOCAB, tokenizer.get_vocab_size()
    tokenizer.save(str(out / "tokenizer.json"))
    end = tokenizer.token_to_id("<|im_end|>")
    (out / "generation_config.json").write_text(json.dumps({"eos_token_id": [end], "do_sample": True, "temperature": 1.0}))


def make(folder, text_folder):
    wide = folder / "wide"
    subprocess.run([sys.executable, os.path.join(ROOT, "oracle/make_wide.py"), str(wide), "4", "16", "4", str(VOCAB)], check=True)
    train(text_folder, wide)
    config = json.loads((POCKET / "tokenizer_config.json").read_text())
    config.pop("added_tokens_decoder", None)  # ids of the smaller vocabulary
    (wide / "tokenizer_config.json").write_text(json.dumps(config))
    shutil.copy(POCKET / "chat_template.jinja", wide)
    subprocess.run([QROUND, "quantize", str(wide), str(folder / "int4"), "--iters", "0", "-q"], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(wide)


def ask(address, seed, tokens, schema=None):
    """(ms of all tokens, tokens)"""
    body = {"messages": [{"role": "user", "content": "Hello."}], "temperature": 0.7, "top_k": 20, "top_p": 0.95, "seed": seed, "max_tokens": tokens,
            "chat_template_kwargs": {"enable_thinking": False}}
    if schema is None:
        body["ignore_eos"] = True
    else:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    request = urllib.request.Request(address + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        timings = json.load(response)["timings"]
    return timings["predicted_ms"], timings["predicted_n"]


def main():
    folder = Path(sys.argv[1])
    if not (folder / "int4/config.json").exists():
        make(folder, sys.argv[2])
    rng = random.Random(1)
    with running_server("--mtp-drafts", "0", "--parallel", "1", "--ctx", "512", model=str(folder / "int4"), program=QROUND) as (address, _):
        ask(address, 0, TOKENS)
        constrained, free = [], []
        for seed in range(ANSWERS):
            schema = random_schema(rng)
            schema["$defs"] = {"shared": {"type": "integer"}}
            constrained.append(ask(address, seed, TOKENS, schema))
            free.append(ask(address, seed, constrained[-1][1]))
    per_token = [sum(ms for ms, _ in rows) / sum(n for _, n in rows) for rows in (constrained, free)]
    medians = [statistics.median(ms / n for ms, n in rows) for rows in (constrained, free)]
    print(f"{VOCAB} tokens of vocabulary, {sum(n for _, n in free)} tokens each: {per_token[0]:.2f} ms per token within a schema, "
          f"{per_token[1]:.2f} ms without: {per_token[0] / per_token[1] - 1:+.1%}; medians of {ANSWERS} answers {medians[0]:.2f} and {medians[1]:.2f} ms: "
          f"{medians[0] / medians[1] - 1:+.1%}")
    return 1 if min(per_token[0] / per_token[1], medians[0] / medians[1]) > 1.05 else 0


if __name__ == "__main__":
    sys.exit(main())
