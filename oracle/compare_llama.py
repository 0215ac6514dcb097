"""qround beside llama.cpp on this machine, in one run: the same model, the same threads, runs alternating, medians of pairs.

compare_llama.py speed  QROUND LLAMA SRC OUT [PAIRS] [--head bf16|q8_0]   prefill of 512 tokens and decoding of 128 at batch 1
compare_llama.py start  QROUND LLAMA SRC OUT [PAIRS]                      from the command to the first token, files in memory and not
compare_llama.py drafts QROUND LLAMA SRC OUT PROMPTS                      drafts of the MTP head that are accepted, BF16 models, greedy

LLAMA is llama.cpp's source with its build in LLAMA/build (llama-bench, llama-quantize, llama-completion, llama-speculative-simple); the package
llama-cpp-python 0.3.36 holds it in vendor/llama.cpp. SRC is a BF16 checkpoint: for speed `make_wide.py SRC 4 256` with the tokenizer and template
files of models/pocket copied in, for drafts models/pocket. OUT keeps the converted models. llama.cpp gets plain `llama-quantize ... Q4_0`, qround
plain rounding: the same bits per weight up to scales and zeros. --head: llama.cpp's output head in BF16, as ours is, or in Q8_0, where qround holds
its BF16 maps as int8 (--int8-copies). PROMPTS is jsonl, a string a line.
"""
import argparse, json, os, re, statistics, subprocess, sys, time
from pathlib import Path

THREADS = str(os.cpu_count())

# The converter knows tokenizers by a hash; the pocket model's is none of them but splits text as this one does.
CONVERT = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/gguf-py"]
sys.argv = ["convert", {src!r}, "--outfile", {out!r}, "--outtype", "bf16"]
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen35"
import runpy
runpy.run_path({root!r} + "/convert_hf_to_gguf.py", run_name="__main__")
"""


def run(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, errors="replace", **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done


def program(llama, name):
    return next(path for path in (llama / "build/bin" / name, llama / "bin" / name) if path.exists())


def converted(args):
    """Paths of the models, made where they are missing."""
    args.out.mkdir(parents=True, exist_ok=True)
    whole = args.out / "bf16.gguf"
    if not whole.exists():
        run([sys.executable, "-c", CONVERT.format(root=str(args.source_of_llama), src=str(args.src), out=str(whole))])
    small = args.out / f"q4_0-{args.head or 'default'}.gguf"
    if not small.exists():
        head = ["--output-tensor-type", args.head] if args.head else []
        run([program(args.llama, "llama-quantize"), *head, whole, small, "Q4_0", THREADS])
    ours = args.out / "int4"
    if not (ours / "report.json").exists():
        run([args.qround, "quantize", args.src, ours, "--iters", "0", "--quiet"])
    return whole, small, ours


def llama_speed(args, model):
    rows = json.loads(run([program(args.llama, "llama-bench"), "-m", model, "-t", THREADS, "-p", 512, "-n", 128, "-r", 1, "-o", "json"]).stdout)
    return {"prefill": rows[0]["avg_ts"], "decode": rows[1]["avg_ts"]}


def qround_speed(args, directory):
    text = run([args.qround, "bench", directory, "--threads", THREADS, "--prompt", 512, "--decode", 128, "--batch", 1, "--json",
                *(["--int8-copies"] if args.head == "q8_0" else [])]).stdout
    case = json.loads(text)["cases"][0]
    return {"prefill": case["prefill_tokens_per_s"], "decode": case["decode_tokens_per_s"],
            "percent_of_plain_read": case["decode_percent_of_plain_read"], "plain_read_GB_per_s": case["plain_read_bytes_per_s"] / 1e9,
            "MB_per_token": case["decode_bytes_per_token"] / 1e6}


def medians(pairs, keys):
    summary = {}
    for key in keys:
        summary[key] = {"llama.cpp": statistics.median(theirs[key] for theirs, _ in pairs), "qround": statistics.median(ours[key] for _, ours in pairs),
                        "ratio": statistics.median(ours[key] / theirs[key] for theirs, ours in pairs)}
    return summary


def speed(args):
    _, theirs, ours = converted(args)
    pairs = []
    for _ in range(args.pairs):
        pairs.append((llama_speed(args, theirs), qround_speed(args, ours)))
        print(json.dumps({"llama.cpp": pairs[-1][0], "qround": pairs[-1][1]}), flush=True)
    summary = medians(pairs, ("prefill", "decode"))
    summary["percent_of_plain_read"] = statistics.median(mine["percent_of_plain_read"] for _, mine in pairs)
    print(json.dumps(summary))


def forget(path):
    """Takes the pages of a file or directory out of the page cache."""
    for file in [path] if path.is_file() else sorted(path.iterdir()):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def start(args):
    _, theirs, ours = converted(args)
    commands = {
        "llama.cpp": (theirs, [program(args.llama, "llama-completion"), "-m", theirs, "-t", THREADS, "-n", 1, "-p", "Count from 1 to", "-no-cnv", "--no-warmup", "-c", 512]),
        "qround": (ours, [args.qround, "generate", ours, "--threads", THREADS, "-n", 1, "-p", "Count from 1 to", "--quiet"]),
    }
    seconds = {(name, state): [] for name in commands for state in ("cold", "warm")}
    for _ in range(args.pairs):
        for state in ("cold", "warm"):
            for name, (model, command) in commands.items():
                if state == "cold":
                    forget(model)
                begin = time.time()
                run(command, stdin=subprocess.DEVNULL)
                seconds[name, state].append(time.time() - begin)
    print(json.dumps({f"{name}, {state}": round(statistics.median(values), 3) for (name, state), values in seconds.items()}))


def drafts(args):
    whole, _, _ = converted(args)
    prompts = [json.loads(line) for line in args.prompts.read_text().splitlines()]
    for depth in (1, 2, 3):
        drafted = accepted = failed = 0
        for prompt in prompts:
            command = [program(args.llama, "llama-speculative-simple"), "-m", whole, "--spec-type", "draft-mtp", "--spec-draft-n-max", depth,
                       "-t", THREADS, "-p", prompt, "-n", 48, "--temp", 0, "-c", 512, "--ignore-eos"]
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
            figures = [re.findall(name + r"\s*=\s*(\d+)", done.stdout + done.stderr) for name in ("n_drafted", "n_accept")]
            if not all(figures):
                failed += 1  # it ends without figures on some prompts
                continue
            drafted += int(figures[0][-1])
            accepted += int(figures[1][-1])
        print(json.dumps({"program": "llama.cpp", "drafts": depth, "drafted": drafted, "accepted": accepted, "share": accepted / drafted,
                          "prompts_without_figures": failed}), flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("mode", choices=("speed", "start", "drafts"))
parser.add_argument("qround", type=Path)
parser.add_argument("llama", type=Path)
parser.add_argument("src", type=Path)
parser.add_argument("out", type=Path)
parser.add_argument("last", nargs="?", default="5")
parser.add_argument("--head", choices=("bf16", "q8_0"))
args = parser.parse_args()
args.source_of_llama = args.llama
args.pairs = int(args.last) if args.mode != "drafts" else 0
args.prompts = Path(args.last)
{"speed": speed, "start": start, "drafts": drafts}[args.mode](args)
