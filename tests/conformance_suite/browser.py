"""A person with a Chromium: opens what the suite wants opened, signs in, lets the app in, takes pictures.

Chromium is driven over the pipe of the Chrome DevTools Protocol, so that nothing has to be installed beside it.
"""

import fcntl
import html
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

WALK_LIMIT_SECS = 60
POLL_SECS = 0.05

# Chromium expects its end of the pipe at 3 and 4.
LAUNCH = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"

# Where a page is in its life, and which of the things that somebody would press are there to be seen.
LOOK = """
(() => {
  const seen = (id) => { const found = document.getElementById(id); return found !== null && found.checkVisibility(); };
  return {
    url: location.href,
    complete: document.readyState === "complete",
    pressed: window.pressedByDriver === true,
    handled: document.getElementById("submission_complete") !== null
      || (location.pathname.endsWith("/post_logout_redirect") && document.getElementById("complete") !== null),
    error: seen("error-title") || seen("fault"),
    signedOut: seen("signed-out"),
    buttons: ["provider-simulated", "person-ada", "approve", "confirm-logout"].filter(seen),
    text: document.body === null ? "" : document.body.innerText.slice(0, 300),
  };
})()
"""


class Stuck(Exception):
    """The pages led to nothing that the driver knows."""


class Chromium:
    """One Chromium process; `person()` is somebody with an empty cookie jar."""

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="riley-auth-chromium-")
        program = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
        if program is None:
            raise RuntimeError("Chromium is not installed")
        # Above 4, which the launcher overwrites.
        commands_out, self.commands = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
        self.events, events_in = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
        arguments = [
            program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self.directory}",
            "--ignore-certificate-errors", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
            "--disable-background-networking", "--disable-features=HttpsUpgrades",
            # The suite's pages load style sheets from elsewhere; nothing outside this machine is asked.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
            "--window-size=1000,760",
        ]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(commands_out), str(events_in), *arguments],
            pass_fds=(commands_out, events_in), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(commands_out)
        os.close(events_in)
        self.buffer = b""
        self.last_id = 0
        return self

    def __exit__(self, *_):
        os.close(self.commands)
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.events)
        shutil.rmtree(self.directory, ignore_errors=True)

    def send(self, method, parameters=None, session=None):
        """One command and its result; None when the page went away while it ran."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self.last_id:
                return answer.get("result")

    def _receive(self):
        while b"\0" not in self.buffer:
            chunk = os.read(self.events, 1 << 20)
            if not chunk:
                raise RuntimeError("Chromium has ended")
            self.buffer += chunk
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def person(self):
        return Person(self)


class Person:
    """A browser context of its own, with one page. Ada, at the simulated upstream."""

    def __init__(self, chromium):
        self.chromium = chromium
        self.context = chromium.send("Target.createBrowserContext")["browserContextId"]
        target = chromium.send("Target.createTarget", {"url": "about:blank", "browserContextId": self.context})
        attach = {"targetId": target["targetId"], "flatten": True}
        self.session = chromium.send("Target.attachToTarget", attach)["sessionId"]

    def leave(self):
        self.chromium.send("Target.disposeBrowserContext", {"browserContextId": self.context})

    def walk(self, method, url):
        """Opens the address and does what a person would, until the suite's callback page, an error page or the end of a logout.

        Returns the picture of the last page that asked for a sign-in or said what is wrong or done, or None if there was none:
        `png` (base64), `title`, and `shows`, "LoginPage", "ErrorPage" or "SuccessfulLogoutPage".
        """
        self._open(method, url)
        deadline = time.monotonic() + WALK_LIMIT_SECS
        picture = None
        look = {}
        while time.monotonic() < deadline:
            look = self._evaluate(LOOK) or {}
            if look.get("handled"):
                return picture
            if not look.get("complete") or look["pressed"] or look["url"] == "about:blank":
                time.sleep(POLL_SECS)
            elif look["error"]:
                return self._picture("ErrorPage")
            elif look["signedOut"]:
                return self._picture("SuccessfulLogoutPage")
            elif look["url"].startswith("chrome-error:"):
                break
            elif look["buttons"]:
                button = look["buttons"][0]
                if button == "person-ada":
                    picture = self._picture("LoginPage")
                self._press(button)
            else:
                time.sleep(POLL_SECS)
        raise Stuck(f"{look.get('url', 'no page')}: {look.get('text', '')}")

    def _open(self, method, url):
        self._command("Page.navigate", {"url": "about:blank"})
        if method == "GET":
            self._command("Page.navigate", {"url": url})
            return
        # As an app's page would: a form of another site.
        address, _, query = url.partition("?")
        fields = "".join(
            f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
            for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True)
        )
        form = f'<form method="post" action="{html.escape(address)}">{fields}</form>'
        self._evaluate(f"document.body.innerHTML = {json.dumps(form)}; document.forms[0].submit()")

    def _press(self, button):
        self._evaluate(f"window.pressedByDriver = true; document.getElementById({json.dumps(button)}).click()")

    def _picture(self, shows):
        title = self._evaluate("document.title")
        shot = self._command("Page.captureScreenshot", {"format": "png"})
        return {"png": shot["data"], "title": title, "shows": shows} if shot else None

    def _evaluate(self, expression):
        result = self._command("Runtime.evaluate", {"expression": expression, "returnByValue": True}) or {}
        return result.get("result", {}).get("value")

    def _command(self, method, parameters):
        return self.chromium.send(method, parameters, self.session)
