"""Time and memory of a command, and calibration text for models with pocket's tokenizer: what the comparisons share."""
import json, subprocess, sys, threading, time


def private_bytes(pid):
    fields = {}
    for line in open(f"/proc/{pid}/status"):
        name, _, value = line.partition(":")
        fields[name] = value
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem") if name in fields) * 1024


def timed(command, watch):
    """Seconds and peak memory in bytes."""
    begin = time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    tail = []
    reader = threading.Thread(target=lambda: tail.extend(process.stderr.readlines()[-20:]))
    reader.start()
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, private_bytes(process.pid) if watch else resident_peak(process.pid))
        except (FileNotFoundError, ProcessLookupError):
            pass
        time.sleep(0.02)
    reader.join()
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed:\n" + "".join(tail))
    return time.time() - begin, peak


def resident_peak(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def long_texts(data, path):
    """Texts joined until they have 512 tokens and more: auto-round leaves shorter ones out."""
    texts = [json.loads(line)["text"] for line in open(data)]
    with open(path, "w") as file:
        for first in range(0, len(texts) - 7, 8):
            file.write(json.dumps({"text": "\n".join(texts[first:first + 8])}) + "\n")
    return path
