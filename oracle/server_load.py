#!/usr/bin/env python3
"""Many clients at once on the pocket model, some streaming, some vanishing midway; greedy answers must equal those given alone.

    python3 oracle/server_load.py [SECONDS] [CLIENTS] [serve options, for example --mtp-drafts 0]

Prints requests, refusals, time to first token and the server's private memory after warm-up and at the end. Exits with 1 on any answer that differs, any
status but 200 and 429, or memory that grows. Then sends SIGTERM under load: no event may be cut off and the exit status must be 0. Standard library only.
"""
import http.client
import json
import random
import re
import signal
import statistics
import sys
import threading
import time
import urllib.request

from server_process import running_server

QUESTIONS = ["What is 7 plus 5?", "Count from 3 to 9.", "What is the capital of Japan?", "What does the frog say?",
             "Write a Python function that multiplies x and left.", "What is 13 minus 11?"]


def body(question, stream, most=60):
    return json.dumps({"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": most, "stream": stream,
                       "chat_template_kwargs": {"enable_thinking": False}})


def events(response):
    """The events of a stream; ValueError when its end is cut off."""
    text = ""
    while True:
        piece = response.read1(65536)
        if not piece:
            if text:
                raise ValueError(f"a cut off event: {text[:80]}")
            return
        text += piece.decode()
        while "\n\n" in text:
            event, text = text.split("\n\n", 1)
            if event.startswith("data: "):
                yield event[6:]


class Load:
    def __init__(self, address):
        self.host = address.removeprefix("http://")
        self.lock = threading.Lock()
        self.problems, self.first_token = [], []
        self.answered = self.refused = self.left = self.cut = 0
        self.stop = threading.Event()
        self.ending = False
        self.alone = {question: self.ask(random.Random(0), question, False, False) for question in QUESTIONS}

    def ask(self, rng, question, stream, leave):
        connection = http.client.HTTPConnection(self.host, timeout=300)
        begin = time.time()
        try:
            connection.request("POST", "/v1/chat/completions", body(question, stream), {"Content-Type": "application/json"})
            if leave and not stream:
                time.sleep(rng.random() * 0.1)
                connection.close()
                return None
            response = connection.getresponse()
        except (OSError, http.client.HTTPException):
            if self.ending:  # a stopped server takes no more requests
                time.sleep(0.1)
                return None
            raise
        if response.status == 503 and self.ending:
            return None
        if response.status == 429:
            told = json.loads(response.read())["error"]
            if not told["message"] or told["type"] != "rate_limit_error":
                raise ValueError(f"a refusal without its reason: {told}")
            with self.lock:
                self.refused += 1
            time.sleep(float(response.getheader("Retry-After")))
            return None
        if response.status != 200:
            raise ValueError(f"status {response.status}: {response.read()[:200]}")
        # From here on nothing may be cut off, not even by SIGTERM.
        if not stream:
            return json.loads(response.read())["choices"][0]["message"]["content"]
        content, count, done, cut = "", 0, False, False
        for data in events(response):
            if data == "[DONE]":
                done = True
                break
            chunk = json.loads(data)
            if "error" in chunk:
                if not self.ending:
                    raise ValueError(str(chunk))
                cut = True  # after the grace time; [DONE] has to follow
                continue
            piece = chunk["choices"][0]["delta"].get("content")
            if piece:
                if not content:
                    with self.lock:
                        self.first_token.append(time.time() - begin)
                content += piece
                count += 1
            if leave and count > 3:
                connection.close()
                return None
        if not done:
            raise ValueError("a stream without its end")
        connection.close()
        if cut:
            with self.lock:
                self.cut += 1
        return None if cut else content

    def client(self, seed):
        rng = random.Random(seed)
        while not self.stop.is_set():
            question = rng.choice(QUESTIONS)
            leave = rng.random() < 0.2
            try:
                answer = self.ask(rng, question, rng.random() < 0.6, leave)
                with self.lock:
                    if leave:
                        self.left += 1
                    elif answer is not None:
                        self.answered += 1
                        if answer != self.alone[question]:
                            self.problems.append(f"{question}: {answer!r} instead of {self.alone[question]!r}")
            except (ValueError, OSError, http.client.HTTPException) as problem:
                self.problems.append(repr(problem))


def private_memory(host):
    text = urllib.request.urlopen(f"http://{host}/metrics", timeout=60).read().decode()
    return float(re.search(r"^qround_private_memory_bytes (\S+)", text, re.M).group(1)) / 1e6


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    with running_server("--grace", "3", *sys.argv[3:]) as (address, process):
        load = Load(address)
        threads = [threading.Thread(target=load.client, args=(i,), daemon=True) for i in range(clients)]
        for thread in threads:
            thread.start()
        time.sleep(seconds / 3)
        warm = private_memory(load.host)
        time.sleep(seconds * 2 / 3)
        end = private_memory(load.host)
        load.ending = True
        process.send_signal(signal.SIGTERM)
        begin = time.time()
        process.stderr.read()
        status = process.wait(timeout=30)
        took = time.time() - begin
        load.stop.set()
        for thread in threads:
            thread.join(10)
    times = sorted(load.first_token)
    print(f"{load.answered} answered, {load.left} left midway, {load.refused} refused for a full queue; first token "
          f"p50 {statistics.median(times):.3f} s, p99 {times[int(0.99 * (len(times) - 1))]:.3f} s; private memory {warm:.1f} MB, then {end:.1f} MB; "
          f"SIGTERM under load: {load.cut} streams cut by a whole event, status {status} after {took:.1f} s; {len(load.problems)} problems")
    for problem in load.problems[:10]:
        print(problem)
    return 1 if load.problems or status != 0 or took > 6 or end > 1.1 * warm + 5 else 0


if __name__ == "__main__":
    sys.exit(main())
