#!/usr/bin/env python3
"""What `qround serve` takes of memory while it works: at most 300 MB of its own beside the state budget, and the weights once for two processes.

    python3 oracle/server_memory.py DIR [STATE_MB [serve options]]

Starts two servers on DIR with a state budget of STATE_MB (512), sends both 16 requests at once with prompts of up to 181 words, and prints each process's private
memory (anonymous and shared-memory pages, sampled every 50 ms) at start and at most, and its resident pages of DIR: how many, how many shared with the other. Exits with 1
when a bound is broken. Linux, standard library only.
"""
import json
import os
import re
import sys
import threading
import time
import urllib.request

from server_process import running_server

MOST_PRIVATE_MB = 300


def private_mb(pid):
    text = open(f"/proc/{pid}/status").read()
    return sum(int(re.search(rf"^{kind}:\s+(\d+) kB", text, re.M).group(1)) for kind in ("RssAnon", "RssShmem")) * 1024 / 1e6


def weights_mb(pid, directory):
    """Resident and shared MB of the mappings of files below directory."""
    sums, counts = {"Rss": 0, "Shared": 0}, False
    for line in open(f"/proc/{pid}/smaps"):
        name, _, value = line.partition(":")
        if " " in name:
            counts = os.path.realpath(directory) in line
        elif counts and name.split("_")[0] in sums:
            sums[name.split("_")[0]] += int(value.split()[0])
    return {kind: kilobytes * 1024 / 1e6 for kind, kilobytes in sums.items()}


def ask(address, words, problems):
    text = " ".join(f"word{(7 * i) % 13}" for i in range(words))
    request = urllib.request.Request(address + "/v1/completions", json.dumps({"prompt": text, "max_tokens": 64, "ignore_eos": True}).encode(),
                                     {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=600).read()
    except OSError as error:
        problems.append(str(error))


def main():
    directory = sys.argv[1]
    budget_mb = int(sys.argv[2]) if len(sys.argv) > 2 else 512
    options = ["--memory", f"{budget_mb}MB", *sys.argv[3:]]
    problems = []
    with running_server(*options, model=directory) as one, running_server(*options, model=directory) as two:
        servers = [one, two]
        start = [private_mb(process.pid) for _, process in servers]
        most = list(start)
        clients = [threading.Thread(target=ask, args=(address, 1 + 12 * i, problems)) for address, _ in servers for i in range(16)]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            most = [max(now, private_mb(process.pid)) for now, (_, process) in zip(most, servers)]
            time.sleep(0.05)
        for i, (_, process) in enumerate(servers):
            weights = weights_mb(process.pid, directory)
            print(f"process {i + 1}: private memory {start[i]:.0f} MB at start, at most {most[i]:.0f} MB with a state budget of {budget_mb} MB; "
                  f"weights: {weights['Rss']:.0f} MB resident, {weights['Shared']:.0f} MB shared")
            if most[i] > MOST_PRIVATE_MB + budget_mb * 1.048576:
                problems.append(f"process {i + 1} takes more than {MOST_PRIVATE_MB} MB beside its states")
            if weights["Shared"] < 0.9 * weights["Rss"] or weights["Rss"] == 0:
                problems.append(f"process {i + 1} does not share its weights")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
