#!/usr/bin/env python3
"""Opens the page of a report in Chromium and compares what it shows with report.json.

    apt-get install chromium chromium-driver
    python3 oracle/report_page.py [DIR] [FOLDER]

DIR holds a report.json; without it, or with "-", the pocket model is rounded, verified and evaluated first. `qround report` ($QROUND) makes the
page anew. Checked: no errors in the console; nothing asked for but the page; every number equals one of report.json exactly and is
shown as that number, rounded; the figures in CHECKED are all there; at no width is the page wider than its window. Writes light.png, dark.png, phone.png,
print.png and print.pdf to FOLDER. Standard library only; without chromedriver it says so and exits with 77 (skipped).
"""
import base64
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from browser import browser

ROOT = pathlib.Path(__file__).resolve().parent.parent
QROUND = os.environ.get("QROUND", str(ROOT / "build/release/qround"))
# Every number found by these paths has to be on the page ("*" is any member).
CHECKED = ["bytes.*", "linears.quantized", "linears.total", "seconds.*", "peak_memory_bytes", "tuning.blocks.*.loss_before",
           "tuning.blocks.*.loss_after", "tuning.blocks.*.seconds", "relative_error.by_kind.*.min",
           "relative_error.by_kind.*.mean", "relative_error.by_kind.*.max", "relative_error.by_kind_and_block.*.mean",
           "eval.lanes.*.perplexity.*", "eval.lanes.*.kl_divergence.mean.*", "eval.lanes.*.kl_divergence.p99_9",
           "eval.lanes.*.kl_divergence.max", "eval.lanes.1.kl_divergence.histogram.rows.*", "eval.lanes.*.top_agreement.*",
           "eval.lanes.*.mtp_teacher_forced.*.agreement.*", "eval.lanes.*.layers.*.relative_error", "eval.lanes.*.layers.*.rerouted",
           "eval.mtp_drafting.lanes.*.depths.*.tokens_per_step", "recipe.learned_rounding.seed", "verify.errors", "verify.warnings"]
UNITS = {"": 1, "%": 1e-2, "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "µs": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600}


def numbers(value):
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, (int, float)):
        yield float(value)
    else:
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)


def found(value, path):
    if not path:
        yield from numbers(value)
        return
    items = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
    for key, item in items.items():
        if path[0] in ("*", key):
            yield from found(item, path[1:])


def rounded(text, exact):
    """Whether `text` is `exact`, rounded to the digits shown: 13.8 MB, 4.48 %, 1 min 3 s."""
    parts = re.findall(r"(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?) ?([a-zA-Zµ%]*)", text)
    if not parts or any(unit not in UNITS for _, unit in parts):
        return False
    shown = sum(float(number) * UNITS[unit] for number, unit in parts)
    digits, unit = parts[-1]
    mantissa, _, power = digits.partition("e")
    step = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2])) * UNITS[unit]
    return abs(shown - exact) <= 0.51 * step


def make_report(folder):
    """The pocket model, tuned for a few seconds, with all members of a report."""
    out, pocket = folder / "out", ROOT / "models/pocket"
    for arguments in (["quantize", pocket, out, "--recipe", "light", "--seqlen", "256", "--nsamples", "16", "--data", pocket / "calibration.jsonl"],
                      ["verify", out, "--source", pocket, "--tp", "1,2"],
                      ["eval", out, "--source", pocket, "--limit", "4", "--draft-prompts", "2", "--noise-floor"]):
        result = subprocess.run([QROUND, *map(str, arguments)], capture_output=True, text=True)
        assert result.returncode in (0, 1), (arguments, result.stderr)
    return out


def check_values(page, report):
    known = set(numbers(report))
    shown = page.run("return [...document.querySelectorAll('data')].map(x => [x.value, x.textContent])")
    for exact, text in shown:
        assert float(exact) in known, f"{text} ({exact}) is not in report.json"
        assert rounded(text, float(exact)), f"{exact} is shown as {text}"
    titles = page.run("return [...document.querySelectorAll('svg title')].map(x => x.textContent)")
    values = {float(exact) for exact, _ in shown}
    for title in titles:
        for value in re.findall(r"(?:: | to |, mean )(-?\d[\d.]*(?:e[-+]?\d+)?)", title):
            assert float(value) in known, f"{title} is not in report.json"
            values.add(float(value))
    for path in CHECKED:
        missing = [value for value in found(report, path.split(".")) if value not in values]
        assert not missing, f"{path}: {missing[:3]} is not on the page"
    return len(shown), len(titles)


def check_heat_map(page, report):
    """Every cell of the expert coverage is as dark as its count says; blank where there is none."""
    drawn = {}
    for level in range(8):
        for path in page.run(f"return [...document.querySelectorAll('path.level{level}')].map(x => x.getAttribute('d'))"):
            drawn |= {(int(row), int(column)): level for column, row in re.findall(r"M(\d+) (\d+)h", path)}
    blocks = report.get("tuning", {}).get("blocks") or []
    counts = [block["expert_tokens"] for block in blocks]
    expected = {(row, column): (count * 8 - 1) // max(counts[row])
                for row, tokens in enumerate(counts) for column, count in enumerate(tokens) if count}
    assert not counts or drawn == expected, (len(drawn), len(expected))
    return len(drawn)


def screenshot(page, path):
    shot = page.command("Page.captureScreenshot", captureBeyondViewport=True, format="png")
    path.write_bytes(base64.b64decode(shot["data"]))


def main():
    if shutil.which("chromedriver") is None:
        print("SKIPPED: chromedriver is not installed")
        sys.exit(77)
    with contextlib.ExitStack() as stack:
        directory = sys.argv[1] if len(sys.argv) > 1 else "-"
        if directory == "-":
            directory = make_report(pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())))
        directory = pathlib.Path(directory).resolve()
        folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ".")
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([QROUND, "report", str(directory)], check=True, stdout=subprocess.DEVNULL)
        report = json.loads((directory / "report.json").read_text())
        address = (directory / "report.html").as_uri()
        page = stack.enter_context(browser())
        page.open(address)
        shown, titles = check_values(page, report)
        cells = check_heat_map(page, report)
        looks = {"light": ("screen", "light", 1200), "dark": ("screen", "dark", 1200), "phone": ("screen", "light", 400),
                 "print": ("print", "dark", 718)}  # A4 without its margins
        colours = {}
        for name, (medium, scheme, width) in looks.items():
            page.command("Emulation.setEmulatedMedia", media=medium, features=[{"name": "prefers-color-scheme", "value": scheme}])
            page.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=name in ("phone", "print"))
            widths = page.run("return [document.documentElement.scrollWidth, window.innerWidth]")
            assert widths[0] <= widths[1], f"{name}: the page is wider than its window: {widths}"
            colours[name] = page.run("return getComputedStyle(document.body).backgroundColor + getComputedStyle(document.body).color")
            screenshot(page, folder / f"{name}.png")
        assert colours["dark"] != colours["light"], colours
        assert colours["print"].startswith("rgb(255, 255, 255)"), colours
        page.command("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        printed = base64.b64decode(page.command("Page.printToPDF", preferCSSPageSize=True)["data"])
        assert printed.startswith(b"%PDF") and len(printed) > 10_000
        (folder / "print.pdf").write_bytes(printed)
        errors = page.console_errors()
        assert not errors, errors
        foreign = {url for url in page.addresses() if url != address and not url.startswith("data:")}
        assert not foreign, foreign
        print(f"the page works: {shown} numbers and {titles} tooltips, {cells} cells of experts, all of report.json; {len(printed)} bytes printed")


if __name__ == "__main__":
    main()
