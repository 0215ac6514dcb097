"""qround's learned rounding beside auto-round's, on this machine, in one run.

compare_autoround.py QROUND SRC DATA OUT pocket [PAIRS] [fp32]   whole runs of auto-round's recipe: 200 iterations, 128 x 256 tokens, batches of 8;
                                                          every second one of ours with --compat autoround
compare_autoround.py QROUND SRC DATA OUT wide [PAIRS] [fp32]     seconds an iteration of full-width blocks (make_wide.py SRC 2 64 2): batches of 4 x 512
                                                          tokens, the difference of two runs with few and more iterations

fp32: auto-round multiplies in f32 (`amp` false), as in the run recorded in tests/data/golden/autoround-tuned; by itself it takes BF16 where
the processor can. Runs alternate; the ratio is the median of pairs. Memory: RssAnon + RssShmem of qround sampled from /proc, peak resident of auto-round.
"""
import json, os, shutil, statistics, sys
from pathlib import Path

from measure import long_texts, timed

HERE = Path(__file__).parent
THREADS = str(os.cpu_count())
FP32 = ["42", "fp32"] if "fp32" in sys.argv else []


def ours(qround, src, data, out, iters, samples, length, batch, extra=()):
    shutil.rmtree(out, ignore_errors=True)
    return timed([qround, "quantize", src, out, "--data", data, "--iters", str(iters), "--nsamples", str(samples), "--seqlen", str(length),
                  "--batch-size", str(batch), "--threads", THREADS, "--quiet", *extra], True)


def theirs(src, data, out, iters, samples, length, batch):
    shutil.rmtree(out, ignore_errors=True)
    return timed([sys.executable, str(HERE / "run_autoround.py"), src, out, data, *map(str, (iters, samples, length, batch)), *FP32], False)


def pocket(qround, src, data, out, pairs):
    for pair in range(pairs):
        mode = ("--compat", "autoround") if pair % 2 else ()
        yield " ".join(mode) or "default", theirs(src, data, out + "/a", 200, 128, 256, 8), ours(qround, src, data, out + "/q", 200, 128, 256, 8, mode)


def wide(qround, src, data, out, pairs):
    few, more, samples = 1, 3, 12  # so few steps of the usual size would leave weights that no check lets pass: ours are smaller
    Path(out).mkdir(parents=True, exist_ok=True)
    data = long_texts(data, out + "/texts.jsonl")
    per_iteration = lambda run: ((run(more)[0] - run(few)[0]) / (more - few), run.peak)

    class Run:
        def __init__(self, call):
            self.call, self.peak = call, 0

        def __call__(self, iters):
            seconds, peak = self.call(iters)
            self.peak = max(self.peak, peak)
            return seconds, peak

    for _ in range(pairs):
        yield ("default", per_iteration(Run(lambda n: theirs(src, data, out + "/a", n, samples, 512, 4))),
               per_iteration(Run(lambda n: ours(qround, src, data, out + "/q", n, samples, 512, 4, ("--held-out", "0", "--lr", "0.005")))))


def main():
    qround, src, data, out, what = sys.argv[1:6]
    pairs = int(sys.argv[6]) if len(sys.argv) > 6 else 1
    ratios = {}
    for mode, (their_seconds, their_peak), (our_seconds, our_peak) in {"pocket": pocket, "wide": wide}[what](qround, src, data, out, pairs):
        ratio = their_seconds / our_seconds
        ratios.setdefault(mode, []).append(ratio)
        print(json.dumps({"what": what, "mode": mode, "autoround_seconds": round(their_seconds, 2), "qround_seconds": round(our_seconds, 2),
                          "ratio": round(ratio, 2), "autoround_peak_gb": round(their_peak / 1e9, 2), "qround_peak_gb": round(our_peak / 1e9, 3)}), flush=True)
    print(json.dumps({"what": what, "autoround_products": "f32" if FP32 else "its choice", "median_ratio": {mode: round(statistics.median(all), 2) for mode, all in ratios.items()}, "threads": THREADS}))


if __name__ == "__main__":
    main()
