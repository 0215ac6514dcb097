#!/usr/bin/env python3
"""Runs the examples of docs/server.md against the pocket model: every sh and python block that uses SERVER.

    python3 oracle/server_docs.py
"""
import importlib.util
import os
import re
import subprocess
import sys

from server_process import ROOT, running_server


def main():
    if importlib.util.find_spec("openai") is None:
        print("SKIPPED: the Python package `openai` is not installed")
        sys.exit(77)
    text = open(os.path.join(ROOT, "docs/server.md")).read()
    blocks = [(kind, code) for kind, code in re.findall(r"```(sh|python)\n(.*?)```", text, re.S) if "SERVER" in code]
    assert len(blocks) >= 3, blocks
    with running_server() as (address, _):
        for kind, code in blocks:
            command = (["bash", "-ec", code] if kind == "sh" else
                       [sys.executable, "-c", "import os\nSERVER = os.environ['SERVER']\n" + code])
            result = subprocess.run(command, env={**os.environ, "SERVER": address}, capture_output=True, text=True, timeout=60)
            print(result.stdout, end="")
            assert result.returncode == 0 and '"error"' not in result.stdout and result.stdout.strip(), (code, result)
    print(f"\n{len(blocks)} examples ran")


if __name__ == "__main__":
    main()
