"""How good each way of rounding is on the pocket model, and how long it takes: KL divergence to BF16 on its evaluation text.

rounding_table.py QROUND POCKET OUT [SEED...] [auto-round]

Plain rounding, optimized RTN, auto-round's rules (--compat autoround), error feedback alone, the light recipe, ours from rounding to nearest
(--start nearest) and the defaults, with auto-round's text and seeds (128 x 256 tokens, batches of 8, 200 iterations unless the way says
otherwise; default seeds: 42 1 2). With the last word auto-round itself runs too, as recorded in tests/data/golden/autoround-tuned (`amp` false).
Prints one JSON line a run and a table of means at the end.
"""
import json, statistics, subprocess, sys, time
from pathlib import Path

qround, pocket, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
seeds = [int(word) for word in sys.argv[4:] if word.isdigit()] or [42, 1, 2]
text = str(pocket / "calibration.jsonl")
recipe = ["--data", text, "--nsamples", "128", "--seqlen", "256", "--batch-size", "8"]
ways = {
    "plain": ["--iters", "0"],
    "opt-rtn": ["--iters", "0", "--opt-rtn", *recipe],
    "autoround": ["--iters", "200", "--compat", "autoround", *recipe],
    "feedback": ["--iters", "0", "--start", "feedback", *recipe],
    "light": ["--recipe", "light", *recipe],
    "nearest": ["--iters", "200", "--start", "nearest", *recipe],
    "default": ["--iters", "200", *recipe],
}


def figures(directory):
    text = subprocess.run([qround, "eval", str(directory), "--source", str(pocket), "--data", "pocket", "--draft-prompts", "0", "--json", "--quiet"],
                          check=True, capture_output=True, text=True).stdout
    return json.loads(text)


if "auto-round" in sys.argv[4:]:
    ways["auto-round"] = None


def command(way, seed, directory):
    if way == "auto-round":
        return [sys.executable, str(Path(__file__).parent / "run_autoround.py"), str(pocket), str(directory), text, "200", "128", "256", "8", str(seed),
                "fp32"]
    return [qround, "quantize", str(pocket), str(directory), "--quiet", *ways[way], *(["--seed", str(seed)] if way != "plain" else [])]


results = {}
for seed in seeds:
    for way in ways:
        if way == "plain" and results.get("plain"):
            continue
        directory = out / f"{way}-{seed}"
        begin = time.monotonic()
        subprocess.run(command(way, seed, directory), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - begin
        result = figures(next(directory.rglob("config.json")).parent)["lanes"][1]
        divergence = result["kl_divergence"]["mean"]
        results.setdefault(way, []).append((divergence["value"], result["top_agreement"]["value"], seconds))
        print(json.dumps({"way": way, "seed": seed, "seconds": round(seconds, 1), "kl_divergence": divergence, "top": result["top_agreement"]["value"],
                          "perplexity": result["perplexity"]["value"]}), flush=True)
for way, runs in results.items():
    divergences, tops, seconds = zip(*runs)
    print(f"| {way} | {' '.join(f'{value:.6f}' for value in divergences)} | {statistics.mean(divergences):.6f} | {statistics.mean(tops):.4f} | "
          f"{statistics.median(seconds):.1f} |")
