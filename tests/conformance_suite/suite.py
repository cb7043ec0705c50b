"""The REST API of a running conformance suite, as far as the driver uses it."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request

from provider import any_certificate


class SuiteError(Exception):
    """The suite refused a call; the text is its answer."""


class Suite:
    """`server` is the suite's base URL, `token` an API token, or None for a suite in development mode."""

    def __init__(self, server, token=None):
        self.server = server.rstrip("/")
        self.token = token
        self.context = any_certificate()

    def call(self, method, path, query=None, body=None, content_type="application/json", timeout=60):
        """The answer's bytes."""
        url = f"{self.server}/api/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(url, method=method, data=data, headers={"Content-Type": content_type})
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=timeout) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise SuiteError(f"{method} {path}: {error.code} {error.read()[:500].decode(errors='replace')}") from error

    def get(self, path, query=None):
        return json.loads(self.call("GET", path, query))

    def version(self):
        """Version and revision of the suite, from the suite."""
        return self.get("server")

    def create_plan(self, name, variant, configuration):
        query = {"planName": name, "variant": json.dumps(variant)}
        return json.loads(self.call("POST", "plan", query, json.dumps(configuration)))

    def start_module(self, plan_id, module):
        query = {"test": module["testModule"], "plan": plan_id, "variant": json.dumps(module.get("variant") or {})}
        return json.loads(self.call("POST", "runner", query))["id"]

    def state(self, test_id):
        """Status and result: ("WAITING", "UNKNOWN"), ("FINISHED", "PASSED") …"""
        information = self.get(f"info/{test_id}")
        return information.get("status"), information.get("result")

    def urls_to_visit(self, test_id):
        """What the suite wants a browser to open, as (method, url)."""
        browser = self.get(f"runner/{test_id}").get("browser") or {}
        return [(entry.get("method") or "GET", entry["url"]) for entry in browser.get("urlsWithMethod") or []]

    def mark_visited(self, test_id, url):
        self.call("POST", f"runner/browser/{test_id}/visit", {"url": url})

    def open_placeholders(self, test_id):
        """The pictures that the module would take, as (placeholder, the check that asks for it: "ExpectSecondLoginPage" …)."""
        entries = self.get(f"log/{test_id}")
        return [(entry["upload"], entry.get("src", "")) for entry in entries if entry.get("upload") and not entry.get("img")]

    def upload(self, test_id, placeholder, png_base64):
        data = f"data:image/png;base64,{png_base64}"
        self.call("POST", f"log/{test_id}/images/{placeholder}", body=data, content_type="text/plain")

    def stop(self, test_id):
        self.call("DELETE", f"runner/{test_id}")

    def export(self, plan_id):
        """The plan's signed logs, a zip file."""
        return self.call("GET", f"plan/export/{plan_id}", timeout=180)

    def plan_modules(self, plan_id):
        return self.get(f"plan/{plan_id}")["modules"]

    def wait_until_up(self, limit_secs=60):
        deadline = time.monotonic() + limit_secs
        while True:
            try:
                return self.version()
            except (urllib.error.URLError, OSError, SuiteError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
