"""How good each way of rounding is on the pocket model: KL divergence to BF16 on its evaluation text.

rounding_table.py QROUND POCKET OUT [SEED...]

Plain rounding, optimized RTN, auto-round's rules (--compat autoround), ours from rounding to nearest (--start nearest) and the defaults, all with auto-round's recipe (200 iterations, 128 x 256
tokens, batches of 8), for each seed (default: 42 1 2). Prints one JSON line a run and a table of means at the end.
"""
import json, statistics, subprocess, sys
from pathlib import Path

qround, pocket, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
seeds = [int(seed) for seed in sys.argv[4:]] or [42, 1, 2]
recipe = ["--data", str(pocket / "calibration.jsonl"), "--nsamples", "128", "--seqlen", "256", "--batch-size", "8"]
ways = {
    "plain": ["--iters", "0"],
    "opt-rtn": ["--iters", "0", "--opt-rtn", *recipe],
    "autoround": ["--iters", "200", "--compat", "autoround", *recipe],
    "nearest": ["--iters", "200", "--start", "nearest", *recipe],
    "default": ["--iters", "200", *recipe],
}


def figures(directory):
    text = subprocess.run([qround, "eval", str(directory), "--source", str(pocket), "--data", "pocket", "--draft-prompts", "0", "--json", "--quiet"],
                          check=True, capture_output=True, text=True).stdout
    return json.loads(text)


results = {}
for seed in seeds:
    for way, options in ways.items():
        if way == "plain" and results.get("plain"):
            continue
        directory = out / f"{way}-{seed}"
        if not (directory / "report.json").exists():
            seeded = options + (["--seed", str(seed)] if way != "plain" else [])
            subprocess.run([qround, "quantize", str(pocket), str(directory), "--quiet", *seeded], check=True, stdout=subprocess.DEVNULL)
        result = figures(directory)["lanes"][1]
        divergence = result["kl_divergence"]["mean"]
        results.setdefault(way, []).append(divergence["value"])
        print(json.dumps({"way": way, "seed": seed, "kl_divergence": divergence, "top": result["top_agreement"]["value"],
                          "perplexity": result["perplexity"]["value"]}), flush=True)
for way, values in results.items():
    print(f"| {way} | {' '.join(f'{value:.6f}' for value in values)} | {statistics.mean(values):.6f} |")
