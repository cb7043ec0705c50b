"""A person signs in over TLS through a proxy that is configured by a file of deploy/.

    sign_in.py nginx|caddy|traefik PROGRAM SURROUNDINGS

PROGRAM is riley-auth, SURROUNDINGS the example conformance_surroundings: a PostgreSQL and a simulated upstream that end with
this script; TRAEFIK in the environment is that program, if it is not in the path. The person asks from 127.0.0.2 and writes
forwarding headers of somebody else, while the proxy asks from 127.0.0.1: so the address that the provider notes tells whose
word it has taken. Behind the proxy are two instances, which are restarted one after the other while requests arrive.
"""

import base64
import hashlib
import html
import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[3]
PERSON_ADDRESS = "127.0.0.2"
INVENTED_ADDRESS = "203.0.113.66"
# What a client may write to be taken for somebody else, elsewhere.
FORGED = {
    "X-Forwarded-For": INVENTED_ADDRESS,
    "X-Real-IP": INVENTED_ADDRESS,
    "Forwarded": f"for={INVENTED_ADDRESS};proto=http;host=attacker.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "attacker.example",
}
NAME = "auth.localhost"
REDIRECT_URI = "https://app.example.com/callback"
START_LIMIT_SECS = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Browser:
    """Keeps cookies by host name, follows nothing by itself."""

    def __init__(self, authority):
        self.authority = authority
        self.cookies = {}

    def send(self, method, url, body=None, headers=None, address=PERSON_ADDRESS):
        parts = urllib.parse.urlsplit(url)
        # Every name of these tests is this machine.
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=self.authority)
            connection = Connection(parts.hostname, parts.port or 443, context, address)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=20, source_address=(address, 0))
        jar = self.cookies.setdefault(parts.hostname, {})
        sent = {**FORGED, **(headers or {})}
        if jar:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        if body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        for line in answer.headers.get_all("Set-Cookie", []):
            name, value = line.split(";")[0].split("=", 1)
            if "Max-Age=0" in line:
                jar.pop(name, None)
            else:
                jar[name] = value
            if parts.scheme == "https":
                assert name.startswith("__Host-") and "Secure" in line and "HttpOnly" in line, line
        connection.close()
        return answer.status, answer.headers, text


class Connection(http.client.HTTPSConnection):
    """To this machine, whatever the name, with the name checked against the certificate."""

    def __init__(self, name, port, context, address):
        super().__init__(name, port, context=context, timeout=20)
        self.address = address

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", self.port), self.timeout, (self.address, 0))
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)


class Deployment:
    """PostgreSQL, upstream, `serve`, proxy."""

    def __init__(self, proxy, program, surroundings):
        self.proxy, self.program, self.surroundings = proxy, program, surroundings
        self.processes = []
        # How long an app's POST may be answered 502 when an instance stops, as the proxy's configuration says.
        self.loses_posts_for_secs = 0
        self.port, self.plain_port = free_port(), free_port()
        self.behind = [free_port(), free_port()]
        self.issuer = f"https://{NAME}:{self.port}"

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="riley-auth-proxy-"))
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            if process.stdin:
                process.stdin.close()
            else:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def spawn(self, command, **options):
        process = subprocess.Popen(command, cwd=self.directory, **options)
        self.processes.append(process)
        return process

    def start(self):
        started = self.spawn([self.surroundings, self.issuer, str(free_port()), str(free_port())],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        around = json.loads(started.stdout.readline())
        self.database_url = around["database_url"]
        (self.directory / "riley-auth.toml").write_text(f"""
[server]
port = {self.behind[0]}
behind_proxy = true
shutdown_grace_secs = 3
[rate_limiting]
enabled = false
[database]
url = "{around['database_url']}"
secret_key = "{secrets.token_urlsafe(32)}"
[jwt]
issuer = "{self.issuer}"
[oauth]
onboarding = "auto"
[oauth.providers.simulated]
issuer = "{around['upstream_issuer']}"
client_id = "{around['upstream_client_id']}"
client_secret = "{around['upstream_client_secret']}"
allow_insecure_http = true
""")
        self.certificates()
        self.run("generate-keys", "--algorithm", "rs256", "--key-size", "2048", "--prepend-to", "riley-auth.toml")
        self.run("migrate")
        registered = self.run("register-client", "--json", "--name", "App", "--redirect-uri", REDIRECT_URI, "--auto-approve")
        self.client = json.loads(registered)
        log = open(self.directory / "log", "ab")
        self.servers = [self.serve(0), self.serve(1)]
        {"nginx": self.start_nginx, "caddy": self.start_caddy, "traefik": self.start_traefik}[self.proxy](log)
        self.wait_until_ready()

    def serve(self, which):
        """One of the two instances."""
        log = open(self.directory / "log", "ab")
        environment = {**os.environ, "RILEY_AUTH__SERVER__PORT": str(self.behind[which])}
        return self.spawn([self.program, "serve"], stdout=log, stderr=log, env=environment)

    def stop(self, which):
        self.servers[which].send_signal(signal.SIGTERM)
        assert self.servers[which].wait(timeout=30) == 0

    def wait_for_instance(self, which):
        self.run("healthcheck", "--url", f"http://127.0.0.1:{self.behind[which]}/ready", retry=True)

    def run(self, *arguments, check=True, retry=False, **environment):
        deadline = time.monotonic() + START_LIMIT_SECS
        while True:
            finished = subprocess.run([self.program, *arguments], cwd=self.directory, capture_output=True, text=True,
                                      env={**os.environ, **environment})
            if finished.returncode == 0 or not retry or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if check and finished.returncode != 0:
            raise RuntimeError(f"{arguments}: {finished.stdout}{finished.stderr}")
        return finished.stdout

    def certificates(self):
        """An authority of our own, and a certificate of it for the name."""
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Test authority",
                "-keyout", "authority.key", "-out", "authority.pem",
                "-addext", "basicConstraints=critical,CA:true", "-addext", "keyUsage=critical,keyCertSign")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={NAME}", "-keyout", "privkey.pem", "-out", "request.pem")
        (self.directory / "extensions").write_text(
            f"subjectAltName=DNS:{NAME}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:false\n")
        openssl("x509", "-req", "-in", "request.pem", "-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial",
                "-days", "2", "-extfile", "extensions", "-out", "fullchain.pem")
        self.authority = str(self.directory / "authority.pem")

    def start_nginx(self, log):
        text = (ROOT / "deploy/nginx/riley-auth.conf").read_text()
        for old, new in [
            # Where CI runs there may be no IPv6.
            ("    listen [::]:80;\n", ""),
            ("    listen [::]:443 ssl http2;\n", ""),
            ("listen 80;", f"listen 127.0.0.1:{self.plain_port};"),
            ("listen 443 ssl http2;", f"listen 127.0.0.1:{self.port} ssl http2;"),
            ("auth.example.com;", f"{NAME};"),
            ("/etc/letsencrypt/live/auth.example.com/", f"{self.directory}/"),
            ("127.0.0.1:8081;", f"127.0.0.1:{self.behind[0]};"),
            ("# server 127.0.0.1:8091;", f"server 127.0.0.1:{self.behind[1]};"),
            ("/var/log/nginx/", f"{self.directory}/"),
        ]:
            assert old in text, old
            text = text.replace(old, new)
        (self.directory / "riley-auth.conf").write_text(text)
        user = "user root;" if os.geteuid() == 0 else ""
        (self.directory / "nginx.conf").write_text(
            f"pid nginx.pid; error_log stderr warn; {user} events {{}}\nhttp {{\n"
            + "".join(f"{kind}_temp_path {kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            + "include riley-auth.conf;\n}\n")
        command = ["nginx", "-p", self.directory, "-c", self.directory / "nginx.conf", "-e", "stderr"]
        subprocess.run([*command, "-t"], cwd=self.directory, check=True)
        self.spawn([*command, "-g", "daemon off;"], stdout=log, stderr=log)
        self.access_log = self.directory / "riley-auth.log"
        self.error_log = self.directory / "riley-auth.error.log"

    def start_caddy(self, log):
        text = (ROOT / "deploy/caddy/Caddyfile").read_text()
        program = os.environ.get("CADDY", "caddy")
        self.loses_posts_for_secs = 3
        self.access_log = self.directory / "access.log"
        self.error_log = self.directory / "log"
        for old, new in [
            ("\n{\n", "\n{\n\tadmin off\n\tauto_https disable_redirects\n"),
            ("\nauth.example.com {\n", f"\n{self.issuer} {{\n\tbind 127.0.0.1\n"
             f"\ttls {self.directory}/fullchain.pem {self.directory}/privkey.pem\n"),
            ("127.0.0.1:8081 {", f"127.0.0.1:{self.behind[0]} 127.0.0.1:{self.behind[1]} {{"),
            ("\tlog {\n\t\tformat", f"\tlog {{\n\t\toutput file {self.access_log}\n\t\tformat"),
        ]:
            assert old in text, old
            text = text.replace(old, new)
        (self.directory / "Caddyfile").write_text(text)
        environment = {**os.environ, "HOME": str(self.directory), "XDG_DATA_HOME": str(self.directory),
                       "XDG_CONFIG_HOME": str(self.directory)}
        self.spawn([program, "run", "--config", "Caddyfile", "--adapter", "caddyfile"], stdout=log, stderr=log, env=environment)

    def start_traefik(self, log):
        self.access_log = self.directory / "access.log"
        self.error_log = self.directory / "log"
        static = (ROOT / "deploy/traefik/traefik.yaml").read_text()
        dynamic = (ROOT / "deploy/traefik/riley-auth.yaml").read_text()
        # The access log that is shown there, switched on.
        static, commented = static.split("# accessLog:")
        static += "accessLog:" + commented.replace("\n# ", "\n")
        for old, new in [
            ('":80"', f'"127.0.0.1:{self.plain_port}"'),
            ('":443"', f'"127.0.0.1:{self.port}"'),
            ("    http:\n      tls:\n        certResolver: letsencrypt\n", "    http:\n      tls: {}\n"),
            ("/etc/traefik/riley-auth.yaml", str(self.directory / "riley-auth.yaml")),
            ("/var/lib/traefik/", f"{self.directory}/"),
            ("accessLog:\n", f"accessLog:\n  filePath: {self.access_log}\n"),
            # It would ask its makers for a newer one.
            ("\nlog:\n", "\nglobal:\n  checkNewVersion: false\n\nlog:\n"),
        ]:
            assert old in static, old
            static = static.replace(old, new)
        for old, new in [
            ("auth.example.com`", f"{NAME}`"),
            ("      tls:\n        certResolver: letsencrypt\n", "      tls: {}\n"),
            ("http://127.0.0.1:8081", f"http://127.0.0.1:{self.behind[0]}"),
            ('# - url: "http://127.0.0.1:8091"', f'- url: "http://127.0.0.1:{self.behind[1]}"'),
        ]:
            assert old in dynamic, old
            dynamic = dynamic.replace(old, new)
        dynamic += (f"\ntls:\n  certificates:\n    - certFile: {self.directory}/fullchain.pem\n"
                    f"      keyFile: {self.directory}/privkey.pem\n")
        (self.directory / "traefik.yaml").write_text(static)
        (self.directory / "riley-auth.yaml").write_text(dynamic)
        program = os.environ.get("TRAEFIK", "traefik")
        self.spawn([program, "--configFile=traefik.yaml"], stdout=log, stderr=log)

    def wait_until_ready(self):
        deadline = time.monotonic() + START_LIMIT_SECS
        while True:
            try:
                if Browser(self.authority).send("GET", f"{self.issuer}/ready")[0] == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                raise RuntimeError("the deployment did not start:\n" + (self.directory / "log").read_text()[-4000:])
            time.sleep(0.2)

    def sql(self, statement):
        return subprocess.check_output(["psql", "--no-align", "--tuples-only", "--command", statement, self.database_url],
                                       text=True).strip()


def sign_in(deployment, browser, response_mode="query"):
    """The code flow with PKCE; returns the code and the tokens."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    state = secrets.token_urlsafe(16)
    url = f"{deployment.issuer}/oauth/authorize?" + urllib.parse.urlencode({
        "response_type": "code", "client_id": deployment.client["client_id"], "redirect_uri": REDIRECT_URI,
        "scope": "openid profile email", "state": state, "code_challenge": challenge, "code_challenge_method": "S256",
        "response_mode": response_mode,
    })
    form = None
    for _ in range(20):
        if url.startswith(REDIRECT_URI):
            break
        method = "GET" if form is None else "POST"
        status, headers, text = browser.send(method, url, form)
        form = None
        if status == 200:
            action = re.search(r'<form method="post" action="([^"]+)"', text)
            assert action, text
            url = urllib.parse.urljoin(url, html.unescape(action[1]))
            if url == REDIRECT_URI:
                # The page that a browser sends on by itself: its fields are what the app gets.
                fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', text)
                url += "?" + urllib.parse.urlencode([(name, html.unescape(value)) for name, value in fields])
                assert response_mode == "form_post"
                break
            form = urllib.parse.urlencode({"username": "alice", "action": "sign-in"})
        else:
            assert 300 <= status < 400, (status, text)
            url = urllib.parse.urljoin(url, headers["Location"])
    answer = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert answer["state"] == state and answer["iss"] == deployment.issuer, answer
    tokens = token(deployment, browser, grant_type="authorization_code", code=answer["code"], redirect_uri=REDIRECT_URI,
                   code_verifier=verifier)
    return answer["code"], tokens


def speaks_http2(deployment):
    """Whether the proxy speaks HTTP/2 with those who can, and what it answers with it."""
    said = subprocess.check_output(
        ["curl", "--silent", "--show-error", "--http2", "--cacert", deployment.authority, "--noproxy", "*",
         "--resolve", f"{NAME}:{deployment.port}:127.0.0.1", "--output", deployment.directory / "http2",
         "--write-out", "%{http_version} %{http_code}", f"{deployment.issuer}/.well-known/openid-configuration"], text=True)
    assert said == "2 200", said
    assert json.loads((deployment.directory / "http2").read_text())["issuer"] == deployment.issuer


class Visitors:
    """People and apps that go on while instances are restarted: every request is counted by its answer."""

    def __init__(self, deployment, refresh_token):
        self.deployment, self.refresh_token = deployment, refresh_token
        self.answers, self.failed_at, self.ends = {}, [], threading.Event()
        self.threads = [threading.Thread(target=self.look_up, name="GET"), threading.Thread(target=self.refresh, name="POST")]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            if not thread.is_alive():
                self.count(thread.name, "ended by itself")
        self.ends.set()
        for thread in self.threads:
            thread.join()

    def count(self, what, status):
        if status != 200:
            self.failed_at.append(time.monotonic())
        self.answers[what, status] = self.answers.get((what, status), 0) + 1

    def look_up(self):
        while not self.ends.wait(0.02):
            try:
                status, _, _ = Browser(self.deployment.authority).send(
                    "GET", f"{self.deployment.issuer}/.well-known/openid-configuration")
            except Exception as error:
                status = repr(error)
            self.count("GET", status)

    def refresh(self):
        while not self.ends.wait(0.02):
            try:
                self.refresh_token = token(self.deployment, Browser(self.deployment.authority),
                                           grant_type="refresh_token", refresh_token=self.refresh_token)["refresh_token"]
                status = 200
            except Exception as error:
                status = repr(error)
            self.count("POST", status)


def restart_one_after_the_other(deployment, refresh_token):
    stops = []
    with Visitors(deployment, refresh_token) as visitors:
        for which in (0, 1):
            time.sleep(1)
            stops.append(time.monotonic())
            deployment.stop(which)
            # Longer than a proxy needs to notice.
            time.sleep(2)
            deployment.servers[which] = deployment.serve(which)
            deployment.wait_for_instance(which)
            # Until the proxy counts on it again: after its next question for health, or at nginx ten seconds.
            if which == 0:
                time.sleep(11 if deployment.proxy == "nginx" else 6)
    failed = {key: number for key, number in visitors.answers.items() if key[1] != 200}
    lost = 0
    if deployment.loses_posts_for_secs:
        lost = failed.pop(("POST", "AssertionError((502, ''))"), 0)
        for when in visitors.failed_at:
            assert any(0 <= when - stop < deployment.loses_posts_for_secs for stop in stops), visitors.answers
    assert not failed and all(visitors.answers.get((what, 200), 0) > 20 for what in ("GET", "POST")), visitors.answers
    return f"{sum(visitors.answers.values())} requests, {lost} of them not answered"


def token(deployment, browser, **form):
    credentials = base64.b64encode(f"{deployment.client['client_id']}:{deployment.client['client_secret']}".encode()).decode()
    status, _, text = browser.send("POST", f"{deployment.issuer}/oauth/token", urllib.parse.urlencode(form),
                                   {"Authorization": f"Basic {credentials}"})
    assert status == 200, (status, text)
    return json.loads(text)


def main():
    proxy, program, surroundings = sys.argv[1], os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
    with Deployment(proxy, program, surroundings) as deployment:
        browser = Browser(deployment.authority)
        code, tokens = sign_in(deployment, browser)
        refreshed = token(deployment, browser, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        status, _, text = browser.send("GET", f"{deployment.issuer}/oauth/userinfo",
                                       headers={"Authorization": f"Bearer {refreshed['access_token']}"})
        assert status == 200 and json.loads(text)["sub"], text
        # The person's address, neither the proxy's nor the invented one.
        noted = deployment.sql("SELECT DISTINCT ip_address FROM sessions")
        assert noted == PERSON_ADDRESS, noted
        # What monitors read is not for the Internet.
        status, _, _ = browser.send("GET", f"{deployment.issuer}/metrics")
        assert status == 404, status
        if proxy != "caddy":
            status, headers, _ = browser.send("GET", f"http://{NAME}:{deployment.plain_port}/oauth/authorize?a=b")
            assert status == 301 and headers["Location"].startswith("https://"), (status, headers["Location"])
        # An authorization request of almost 16 KiB arrives.
        status, _, text = browser.send("GET", f"{deployment.issuer}/oauth/authorize?state={'x' * 15000}")
        assert status == 400, status
        # So does one with a long header, as cookies of others on the same host would make it.
        status, headers, _ = browser.send("GET", f"{deployment.issuer}/oauth/authorize", headers={"X-Filler": "x" * 15000})
        assert status == 400 and headers["X-Request-Id"], status
        # A body that is too large ends here or there.
        status, _, _ = browser.send("POST", f"{deployment.issuer}/oauth/token", "x=" + "x" * 250_000)
        assert status == 413, status
        speaks_http2(deployment)
        posted, _ = sign_in(deployment, Browser(deployment.authority), "form_post")
        refresh_token = sign_in(deployment, Browser(deployment.authority))[1]["refresh_token"]
        answered = restart_one_after_the_other(deployment, refresh_token)
        # No code and no state in the proxy's log.
        written = deployment.access_log.read_text()
        assert "/oauth/" in written or proxy == "traefik"
        assert code not in written and posted not in written and "state=" not in written, written[-2000:]
        assert len(written.splitlines()) > 20, written
        report = json.loads(deployment.run("validate", "--live", "--at", "127.0.0.1", "--seen-as", "127.0.0.1", "--json",
                                           check=False, SSL_CERT_FILE=deployment.authority))
        expected = ("superuser", "fsync", "app.example.com")
        left = [finding for finding in report["findings"] if not any(word in finding["problem"] for word in expected)]
        assert not left, json.dumps(left, indent=1)
        # Nor in its log of errors, when nobody answers it.
        deployment.stop(0)
        deployment.stop(1)
        status, _, _ = browser.send("GET", f"{deployment.issuer}/oauth/authorize?state=secret")
        assert status in (502, 503), status
        errors = deployment.error_log.read_text()
        assert "state=" not in errors, errors[-2000:]
    print(f"{proxy}: a person signed in, refreshed, and was seen as {PERSON_ADDRESS}; "
          f"two instances were restarted under {answered}")


if __name__ == "__main__":
    main()
