"""How time and memory of learned rounding grow with experts and tokens: full-width models of two blocks (DeltaNet and attention).

scaling_table.py QROUND MODELS OUT [EXPERTS...]

MODELS/E are models of `make_wide.py MODELS/E 2 E 2` with the tokenizer and template files of models/pocket copied in, E = 16 64 256 unless named.
A row a case: tokens of an iteration, seconds of one over both blocks (the difference of runs with one and three), the most private memory
(RssAnon + RssShmem sampled from /proc), what `qround plan` had promised, and both under the smallest --memory that plan accepts.
"""
import json, os, re, shutil, subprocess, sys
from pathlib import Path

from measure import long_texts, timed

qround, models, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
experts = [int(word) for word in sys.argv[4:]] or [16, 64, 256]
pocket = Path(__file__).parent.parent / "models/pocket"
SAMPLES = 12
SHAPES = ((2, 256), (4, 512), (8, 512))  # of the count in the middle; of the others the one in the middle


def options(data, iterations, batch, length):
    # Few steps of the usual size would leave weights that no check lets pass.
    return ["--data", data, "--nsamples", str(SAMPLES), "--held-out", "0", "--lr", "0.005", "--iters", str(iterations), "--batch-size", str(batch),
            "--seqlen", str(length), "--threads", str(os.cpu_count())]


def promised(source, *flags):
    plan = json.loads(subprocess.run([qround, "plan", str(source), "--json", *flags], check=True, capture_output=True, text=True).stdout)
    return plan["memory_needed_bytes"], plan["activations_on_disk"]


def smallest_budget(source, *flags):
    """What the refusal of a budget of 64 MB names."""
    refused = subprocess.run([qround, "plan", str(source), *flags, "--memory", "64M"], capture_output=True, text=True)
    return re.search(r"--memory (\S+) or more", refused.stdout + refused.stderr)


def run(source, *flags):
    shutil.rmtree(out / "int4", ignore_errors=True)
    return timed([qround, "quantize", str(source), str(out / "int4"), "--quiet", *flags], True)


def main():
    out.mkdir(parents=True, exist_ok=True)
    data = long_texts(pocket / "calibration.jsonl", out / "texts.jsonl")
    print("| experts | tokens of an iteration | s an iteration | private memory, MB | planned, MB | ratio | under --memory | private, MB |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for count in experts:
        source = models / str(count)
        for batch, length in SHAPES if count == experts[len(experts) // 2] else SHAPES[1:2]:
            few, _ = run(source, *options(data, 1, batch, length))
            more, peak = run(source, *options(data, 3, batch, length))
            planned, _ = promised(source, *options(data, 3, batch, length))
            budget = smallest_budget(source, *options(data, 3, batch, length))
            tight = ["", ""]
            if budget is not None:
                value = budget.group(1).replace(" ", "")
                _, least = run(source, *options(data, 1, batch, length), "--memory", value)
                tight = [value, f"{least / 1e6:.0f}"]
            print(f"| {count} | {batch * length} | {(more - few) / 2:.2f} | {peak / 1e6:.0f} | {planned / 1e6:.0f} | {peak / planned:.2f} | "
                  f"{tight[0]} | {tight[1]} |", flush=True)
    shutil.rmtree(out / "int4", ignore_errors=True)


main()
