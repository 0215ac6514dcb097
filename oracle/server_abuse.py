#!/usr/bin/env python3
"""Throws at `qround serve` what no client should send, while other requests run beside it.

    python3 oracle/server_abuse.py [COUNT] [SEED]

A thousand malformed bodies, floods of headers, slow requests, wrong keys, paths with "..", absurd numbers, schemas and template arguments without end.
Every one must be answered with a refusal (or the connection closed), and every ordinary request beside them as it is answered alone.
Standard library only. Exits with 1 when something is not so. QROUND names another program to try, for example one built with sanitizers.
"""
import json
import random
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

from server_process import running_server

GOOD = {"messages": [{"role": "user", "content": "What is 7 plus 5?"}], "temperature": 0, "max_tokens": 20,
        "chat_template_kwargs": {"enable_thinking": False}}


def post(address, body, path="/v1/chat/completions", timeout=60):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def raw(address, data, timeout=20):
    """Sends bytes and returns the status of the answer, 0 when the connection just ends."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        try:
            connection.sendall(data)
            answer = connection.recv(65536)
        except (ConnectionError, socket.timeout):
            return 0
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def malformed(rng):
    """A body that is no request, and what it is."""
    kind = rng.randrange(8)
    good = json.dumps(GOOD).encode()
    if kind == 0:
        return good[:rng.randrange(len(good))]
    if kind == 1:  # a byte changed so that it is no UTF-8 any more
        at = rng.randrange(len(good))
        return good[:at] + bytes([rng.randrange(0x80, 0x100)]) + good[at + 1:]
    if kind == 2:
        return rng.choice([b"[", b'{"a":', b'{"messages": [']) * rng.choice([100, 10_000, 100_000])
    if kind == 3:
        return good.replace(b"What", b"\0", 1)
    if kind == 4:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(200)))
    if kind == 5:
        return rng.choice([b"", b"null", b"[]", b"1e999", b'"x"', b"{}", b'{"messages": {}}', b'{"messages": [[]]}'])
    wrong = dict(GOOD)
    key = rng.choice(["messages", "temperature", "top_p", "max_tokens", "n", "stop", "tools", "stream", "logit_bias",
                      "response_format", "chat_template_kwargs", "seed"])
    values = [{"a": 1}, [[[]]], "x", -5, 1e308, True, [None], {"type": 7}]
    # Values that are right for the key are not malformed.
    fine = {"stop": ["x"], "logit_bias": [], "chat_template_kwargs": [{"a": 1}, {"type": 7}], "seed": [-5], "stream": [True]}
    values = [v for v in values if v not in fine.get(key, [])]
    wrong[key] = rng.choice(values)
    if key == "stop" and wrong[key] in ("x", [None]):
        wrong[key] = 5
    if key == "max_tokens" and wrong[key] in (1e308,):
        wrong[key] = "many"
    return json.dumps(wrong).encode()


def absurd():
    yield {"n": 10**9}
    yield {"stop": ["a"] * 10**5}
    yield {"logit_bias": {str(i): 1 for i in range(10**5)}}
    yield {"messages": [{"role": "user", "content": "x"}] * 10**5}
    yield {"tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(10**4)]}
    yield {"messages": [{"role": "user", "content": "long " * 10**6}]}

    def schema(value):
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": value}}}
    yield schema({"$ref": "#"})
    yield schema({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]})
    yield schema({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})
    yield schema({"type": "array", "maxItems": 20000, "items": {"type": "array", "maxItems": 20000,
                                                               "items": {"type": "string", "maxLength": 20000}}})
    deep = {"type": "integer"}
    for _ in range(600):
        deep = {"type": "array", "items": deep}
    yield schema(deep)


def beside(address, alone, stop, problems):
    """Ordinary requests that must not notice anything."""
    while not stop.is_set():
        status, body = post(address, GOOD)
        if status != 200 or json.loads(body)["choices"][0]["message"]["content"] != alone:
            problems.append(f"a request beside was disturbed: {status} {body[:200]}")
        time.sleep(0.05)


def check(problems, what, statuses, got):
    if got not in statuses:
        problems.append(f"{what}: answered with {got}")


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    problems = []
    with running_server() as (address, process):
        alone = json.loads(post(address, GOOD)[1])["choices"][0]["message"]["content"]
        stop = threading.Event()
        thread = threading.Thread(target=beside, args=(address, alone, stop, problems))
        thread.start()
        for _ in range(count):
            body = malformed(rng)
            check(problems, f"malformed {body[:120]!r}", (400, 422), post(address, body)[0])
        for more in absurd():
            status, answer = post(address, {**GOOD, **more})
            check(problems, f"absurd {str(more)[:80]}", (400, 413), status)
        check(problems, "a huge max_tokens", (200,), post(address, {**GOOD, "max_tokens": 2**62})[0])
        loop = {**GOOD, "chat_template_kwargs": {"enable_thinking": [[0] * 1000] * 1000}}
        check(problems, "template arguments of a million elements", (200, 400), post(address, loop)[0])
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        check(problems, "a body of 100 MB", (413,), raw(address, head + b"Content-Length: 100000000\r\n\r\n" + b"x" * 1000))
        chunks = b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 100
        check(problems, "a body of 100 MB in chunks", (413, 0), raw(address, head + chunks))
        check(problems, "a flood of headers", (431, 0), raw(address, head + b"X: y\r\n" * 10**6))
        check(problems, "a long header", (431, 0), raw(address, head + b"X: " + b"y" * 10**7))
        for path in ("/../../../../etc/passwd", "/..%2f..%2fetc/passwd", "/v1/models/../../x", "/page.js/../../x", "//etc/passwd"):
            check(problems, path, (404,), raw(address, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
        slow = []
        for _ in range(100):
            host, port = address.removeprefix("http://").split(":")
            connection = socket.create_connection((host, int(port)))
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
            slow.append(connection)
        ends = time.time() + 12  # longer than a header may take
        while time.time() < ends:
            for connection in slow:
                try:
                    connection.sendall(b"x")
                except OSError:
                    pass
            time.sleep(0.5)
        for connection in slow:
            connection.settimeout(1)
            try:
                data = connection.recv(65536)
                check(problems, "a slow request", (b"HTTP/1.1 408", b""), data[:12])
            except ConnectionError:
                pass
            except socket.timeout:
                problems.append("a slow request was waited for")
            connection.close()
        stop.set()
        thread.join()
    with running_server("--api-key", "secret") as (address, _):
        for key in ("", "secre", "secrets", "SECRET", "x" * 8000):
            check(problems, f"key {key[:10]}", (401,), raw(address, f"GET /v1/models HTTP/1.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()))
    for problem in problems[:20]:
        print(problem)
    print(f"{count} malformed bodies and the rest of the list; {len(problems)} problems; exit status of the server: {process.returncode}")
    return 1 if problems or process.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
