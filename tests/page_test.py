#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page of vibee serve in headless Chromium: a chat, a stop, a switch, the live view; screenshots are kept.

usage: tests/page_test.py VIBEE MODEL [MODEL ...] [--shots DIR]    (Debian: chromium chromium-driver python3-selenium)
"""
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import Select, WebDriverWait

arguments = sys.argv[1:]
shots = Path(tempfile.mkdtemp())
if "--shots" in arguments:
    at = arguments.index("--shots")
    shots = Path(arguments[at + 1])
    shots.mkdir(parents=True, exist_ok=True)
    del arguments[at:at + 2]
vibee, *models = arguments
port = 18080
base = f"http://127.0.0.1:{port}"
log = tempfile.TemporaryFile()
server = subprocess.Popen([vibee, "serve", *models, "--port", str(port), "--ctx", "1024", "--batch", "16"], stderr=log)
options = webdriver.ChromeOptions()
for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1100,900"):
    options.add_argument(flag)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})


def ask(path, body=None):
    request = urllib.request.Request(base + path, json.dumps(body).encode() if body else None)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read().decode()


def main():
    for _ in range(200):
        log.seek(0)
        if b"ready" in log.read():
            break
        time.sleep(0.1)
    with webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver")) as page:
        wait = WebDriverWait(page, 60)
        find = lambda css: page.find_element(By.CSS_SELECTOR, css)
        shot = lambda name: page.save_screenshot(str(shots / (name + ".png")))
        try:
            drive(page, wait, find, shot)
        except BaseException:
            shot("failed")
            raise


def drive(page, wait, find, shot):
    page.get(base + "/ui")
    wait.until(lambda _: len(page.find_elements(By.CSS_SELECTOR, "#model option")) == len(models))

    # A chat, sent by keyboard, with probabilities.
    find("#options summary").click()
    find("#probabilities").click()
    find("#max_tokens").clear()
    find("#max_tokens").send_keys("40")
    find("#prompt").send_keys("Why is the sky blue?" + Keys.CONTROL + Keys.ENTER)
    wait.until(lambda _: "tokens" in find("#speed").text)
    answer = find("#messages li.assistant")
    tokens = page.find_elements(By.CSS_SELECTOR, "#messages li.assistant .token")
    assert 1 < len(tokens) <= 40 and "%" in tokens[3].get_attribute("title"), len(tokens)
    assert len(answer.text) > 20, answer.text
    shot("chat")

    # A stop.
    find("#probabilities").click()
    find("#max_tokens").clear()
    find("#max_tokens").send_keys("900")
    find("#prompt").send_keys("Write a very long story about a lighthouse.")
    find("#send").click()
    wait.until(lambda _: len(page.find_elements(By.CSS_SELECTOR, "#messages li")) == 4 and len(page.find_elements(By.CSS_SELECTOR, "#messages li")[3].text) > 30)
    find("#prompt").send_keys(Keys.ESCAPE)
    wait.until(lambda _: find("#speed").text == "stopped")
    assert find("#send").is_enabled()
    for _ in range(100):
        if 'vibee_running{model="%s"} 0' % models[0] in ask("/metrics"):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the answer goes on after the stop")

    # Another model.
    if len(models) > 1:
        Select(find("#model")).select_by_value(models[1])
        find("#max_tokens").clear()
        find("#max_tokens").send_keys("8")
        find("#prompt").send_keys("And the sea?" + Keys.CONTROL + Keys.ENTER)
        wait.until(lambda _: page.find_elements(By.CSS_SELECTOR, "#messages li .who span")[-1].text == models[1] and "tokens" in find("#speed").text)
        Select(find("#model")).select_by_value(models[0])

    # The live view under load; its numbers are those of /metrics.
    load = [threading.Thread(target=ask, args=("/v1/completions", {"model": models[0], "prompt": f"Once upon a time, number {i % 3}, " + "there was a sea. " * 12, "max_tokens": 300, "ignore_eos": True}))
            for i in range(24)]
    [t.start() for t in load]
    find("#tab-live").click()
    wait.until(lambda _: len(page.find_elements(By.CSS_SELECTOR, "#sequences tbody tr")) >= 16)
    # In one look: the page replaces them four times a second.
    tiles = lambda: page.execute_script("return Object.fromEntries([...document.querySelectorAll('#tiles div')].map((d) => [d.children[0].textContent, d.children[1].textContent]))")
    wait.until(lambda _: float(tiles().get("Tokens a second", 0)) > 0)
    shown = tiles()
    metrics = ask("/metrics")
    for name, tile in (("running", "Running"), ("waiting", "Waiting")):
        counted = int(re.search(r'vibee_%s{model="%s"} (\d+)' % (name, models[0]), metrics)[1])
        assert abs(counted - int(shown[tile])) <= 2, (name, counted, shown)
    time.sleep(1)
    shot("live")
    [t.join() for t in load]
    wait.until(lambda _: tiles()["Running"] == "0" and not page.find_elements(By.CSS_SELECTOR, "#sequences tbody tr"))
    shot("live-idle")

    # A switch.
    find("#tab-techniques").send_keys(Keys.ENTER)
    wait.until(lambda _: page.find_elements(By.CSS_SELECTOR, "#switch-policy"))
    Select(find("#switch-policy")).select_by_value("orca")
    wait.until(lambda _: json.loads(ask("/admin/config?model=" + models[0]))["policy"] == "orca")
    wait.until(lambda _: len(page.find_elements(By.CSS_SELECTOR, "#rows tbody tr")) > 4)
    shot("techniques")

    # A phone.
    page.set_window_size(390, 800)
    find("#tab-chat").click()
    wide = page.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"the page is {wide} pixels wider than a phone"
    shot("phone")
    errors = [e for e in page.get_log("browser") if e["level"] == "SEVERE"]
    assert not errors, errors
    print(f"page: chat, stop, {'model, ' if len(models) > 1 else ''}live view, switch, phone; screenshots in {shots}")


try:
    main()
finally:
    server.terminate()
    server.wait(60)
