"""Starts `qround serve` for the checks beside this file and stops it again."""
import contextlib
import os
import re
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@contextlib.contextmanager
def running_server(*options, model=os.path.join(ROOT, "models/pocket"), program=None):
    """Yields (address, process); the server gets SIGTERM at the end."""
    program = program or os.environ.get("QROUND", os.path.join(ROOT, "build/release/qround"))
    process = subprocess.Popen([program, "serve", model, "--port", "0", *options],
                               stderr=subprocess.PIPE, text=True)
    try:
        address = None
        for line in process.stderr:
            found = re.match(r"serving .* at (http://\S+?)/$", line)
            if found:
                address = found.group(1)
                break
            print("server:", line, end="", file=sys.stderr)
        if address is None:
            raise RuntimeError("the server did not start")
        yield address, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.stderr.read()
        process.wait(timeout=60)
