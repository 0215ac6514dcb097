#!/usr/bin/env python3
"""Opens the server's page in Chromium, as a person would: sends a message, sees the answer arrive, stops one midway, reloads and finds the conversation.

    apt-get install chromium chromium-driver
    python3 oracle/server_page.py [FOLDER]

Writes desktop.png and phone.png to FOLDER. Fails when the browser's console shows an error or the page asks another host for anything.
Standard library only; without chromedriver it says so and exits with 77 (skipped).
"""
import json
import os
import shutil
import sys
import time

from browser import browser
from server_process import running_server

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

        # A long answer, stopped midway by the keyboard: by the page itself at the first words, since the model writes faster than a driver looks.
        page.run("""document.getElementById('temperature').value = 1.5;
            window.stopper = new MutationObserver(() => {
                const answers = document.querySelectorAll('article.assistant');
                if (answers.length > window.answersBefore && answers[answers.length - 1].innerText.trim())
                    document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}));
            });
            window.stopper.observe(document.body, {childList: true, subtree: true, characterData: true});""")
        stopped = False
        for _ in range(20):
            before = len(text_of(page, "article.assistant"))
            page.run(f"window.answersBefore = {before}")
            page.type("#input", "Count from 1 to 30.\ue007")
            wait("the end", lambda: len(text_of(page, "article.assistant")) > before and idle(page))
            if text_of(page, "#status") == ["Stopped."]:
                stopped = True
                break
        page.run("window.stopper.disconnect()")
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

        errors = page.console_errors()
        assert not errors, errors
        urls = page.addresses()
        foreign = [url for url in urls if not url.startswith((address + "/", "data:"))]
        assert urls and not foreign, foreign
        print(f"the page works; {len(urls)} addresses asked, all of this server")


if __name__ == "__main__":
    main()
