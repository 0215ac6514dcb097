#!/usr/bin/env python3
"""Opens the server's page in Chromium, as a person would: sends a message, sees the answer arrive, stops one midway, reloads and finds the conversation.

    apt-get install chromium chromium-driver
    python3 oracle/server_page.py [FOLDER]

Writes desktop.png and phone.png to FOLDER. Fails when the browser's console shows an error or the page asks another host for anything.
Standard library only; without chromedriver it says so and exits with 77 (skipped).
"""
import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

from server_process import running_server

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """As much of the WebDriver protocol as the check needs."""

    def __init__(self, driver_address):
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1200,800"]}
        capabilities = {"browserName": "chrome", "goog:chromeOptions": options,
                        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self.base = driver_address
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.base += "/session/" + session["sessionId"]

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.base + path, None if body is None else json.dumps(body).encode(),
                                         {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)["value"]

    def open(self, address):
        self.call("POST", "/url", {"url": address})

    def run(self, script):
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def find(self, selector):
        return self.call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def type(self, selector, text):
        self.call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def click(self, selector):
        self.call("POST", f"/element/{self.find(selector)}/click", {})

    def resize(self, width, height):
        self.call("POST", "/window/rect", {"width": width, "height": height})

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("GET", "/screenshot")))

    def log(self, kind):
        return self.call("POST", "/se/log", {"type": kind})


@contextlib.contextmanager
def browser():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        opened = Browser(f"http://127.0.0.1:{port}")
        yield opened
        opened.call("DELETE", "")
    finally:
        process.terminate()
        process.wait()


def wait(what, condition, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def text_of(page, selector):
    return page.run(f"return [...document.querySelectorAll({json.dumps(selector)})].map(x => x.textContent)")


def idle(page):
    return page.run("return document.getElementById('stop').hidden")


def main():
    if shutil.which("chromedriver") is None:
        print("SKIPPED: chromedriver is not installed")
        sys.exit(77)
    folder = sys.argv[1] if len(sys.argv) > 1 else "."
    os.makedirs(folder, exist_ok=True)
    with running_server() as (address, _), browser() as page:
        page.open(address + "/")
        wait("the model's name", lambda: text_of(page, "#model") == ["pocket"])
        page.run("document.getElementById('temperature').value = 0; document.getElementById('thinking').checked = false")
        page.type("#input", "What is 7 plus 5?\ue007")  # the Enter key sends
        wait("the answer", lambda: "12" in "".join(text_of(page, "article.assistant")) and idle(page))
        assert "per second" in text_of(page, "#status")[0], text_of(page, "#status")

        # Markup in a message stays text.
        page.type("#input", "<img src=x onerror=alert(1)>")
        page.click("#send")
        wait("the answer to markup", lambda: len(text_of(page, "article.assistant")) == 2 and idle(page))
        assert page.run("return document.querySelectorAll('article img').length") == 0

        # A long answer, stopped midway by the keyboard.
        page.run("""document.getElementById('temperature').value = 1.5""")
        stopped = False
        for _ in range(10):
            before = len(text_of(page, "article.assistant"))
            page.type("#input", "Count from 1 to 30.\ue007")
            wait("some of the answer", lambda: "".join(text_of(page, "article.assistant")[before:]) or idle(page))
            if not idle(page):
                page.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
            wait("the end", lambda: idle(page))
            if text_of(page, "#status") == ["Stopped."]:
                stopped = True
                break
        assert stopped, "no answer could be stopped midway"

        said = text_of(page, "article")
        page.call("POST", "/refresh", {})
        wait("the conversation after reloading", lambda: text_of(page, "article") == said)
        page.screenshot(os.path.join(folder, "desktop.png"))
        page.click("#open-settings")
        page.resize(400, 800)
        page.screenshot(os.path.join(folder, "phone.png"))
        width = page.run("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert width[0] <= width[1], f"the page is wider than the phone: {width}"

        errors = [entry for entry in page.log("browser") if entry["level"] == "SEVERE"]
        assert not errors, errors
        asked = [json.loads(entry["message"])["message"] for entry in page.log("performance")]
        urls = {m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"}
        foreign = [url for url in urls if not url.startswith((address + "/", "data:"))]
        assert urls and not foreign, foreign
        print(f"the page works; {len(urls)} addresses asked, all of this server")


if __name__ == "__main__":
    main()
