"""Prometheus reads two instances and evaluates what deploy/ has for it: every alert's rule, every query of the dashboard.

    monitor.py PROGRAM SURROUNDINGS

Everything that a sign-in leaves behind has to be there; nothing may be alarming until an instance is stopped.
"""

import json
import os
import re
import sys
import time
import urllib.parse
import urllib.request

from sign_in import ROOT, Browser, Deployment, free_port, sign_in

# Panels that stay empty while nothing goes wrong: series that begin with the first event.
EMPTY_AT_FIRST = ("panics", "rate_limit", "shed", "timeouts", "connections_refused", "webhook_deliveries", "5..")
WAIT_SECS = 60


class Prometheus:
    def __init__(self, deployment):
        self.address = f"127.0.0.1:{free_port()}"
        text = (ROOT / "deploy/prometheus/scrape.yaml").read_text()
        targets = "".join(f"\n          - 127.0.0.1:{port}" for port in deployment.behind)
        for old, new in [
            ("scrape_interval: 15s", "scrape_interval: 1s"),
            ("\n          - 127.0.0.1:9091", targets),
            ("/etc/prometheus/rules/", f"{ROOT}/deploy/prometheus/"),
        ]:
            assert old in text, old
            text = text.replace(old, new)
        configuration = deployment.directory / "prometheus.yml"
        configuration.write_text("global:\n  evaluation_interval: 1s\n" + text)
        log = open(deployment.directory / "log", "ab")
        deployment.spawn(["prometheus", f"--config.file={configuration}", f"--web.listen-address={self.address}",
                          f"--storage.tsdb.path={deployment.directory}/prometheus"], stdout=log, stderr=log)

    def ask(self, path, **parameters):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def alerts(self):
        """Each rule's state, and its health: unknown until it is evaluated."""
        rules = [rule for group in self.ask("rules", type="alert")["groups"] for rule in group["rules"]]
        assert len(rules) > 10 and all(rule["health"] != "err" for rule in rules), rules
        return {rule["name"]: (rule["state"], rule["health"]) for rule in rules}


def until(what, condition):
    deadline = time.monotonic() + WAIT_SECS
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def expressions():
    dashboard = json.loads((ROOT / "deploy/grafana/riley-auth.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "30s")
            expression = re.sub(r"\$(job|instance)\b", ".*", expression)
            assert "$" not in expression, expression
            yield panel["title"], expression


def main():
    program, surroundings = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    with Deployment("nginx", program, surroundings) as deployment:
        prometheus = Prometheus(deployment)
        until("both are up", lambda: [one["value"][1] for one in prometheus.query("sum(up)")] == ["2"])
        for _ in range(2):
            sign_in(deployment, Browser(deployment.authority))
            time.sleep(2)
        asked = 0
        for title, expression in expressions():
            may_be_empty = any(word in expression for word in EMPTY_AT_FIRST)
            until(f"{title}: {expression}", lambda: prometheus.query(expression) or may_be_empty)
            asked += 1
        until("every rule was evaluated", lambda: set(prometheus.alerts().values()) == {("inactive", "ok")})
        deployment.stop(1)
        until("an instance is missed", lambda: prometheus.alerts()["RileyAuthDown"][0] != "inactive")
        print(f"{asked} queries of the dashboard and {len(prometheus.alerts())} alerts were evaluated")


main()
