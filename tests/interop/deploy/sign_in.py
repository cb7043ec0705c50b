"""A person signs in over TLS through a proxy that is configured by a file of deploy/.

    sign_in.py nginx|caddy PROGRAM SURROUNDINGS

PROGRAM is riley-auth, SURROUNDINGS the example conformance_surroundings: a PostgreSQL and a simulated upstream that end with
this script. The person asks from 127.0.0.2 and writes an X-Forwarded-For of somebody else, while the proxy asks from
127.0.0.1: so the address that the provider notes tells whose word it has taken.
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
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[3]
PERSON_ADDRESS = "127.0.0.2"
INVENTED_ADDRESS = "203.0.113.66"
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
        sent = {"X-Forwarded-For": INVENTED_ADDRESS, **(headers or {})}
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
        self.port, self.plain_port, self.behind = free_port(), free_port(), free_port()
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
port = {self.behind}
behind_proxy = true
shutdown_grace_secs = 3
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
        log = open(self.directory / "log", "wb")
        self.server = self.spawn([self.program, "serve"], stdout=log, stderr=log)
        self.start_nginx(log) if self.proxy == "nginx" else self.start_caddy(log)
        self.wait_until_ready()

    def run(self, *arguments, check=True, **environment):
        finished = subprocess.run([self.program, *arguments], cwd=self.directory, capture_output=True, text=True,
                                  env={**os.environ, **environment})
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
            ("listen 80;", f"listen 127.0.0.1:{self.plain_port};"),
            ("listen 443 ssl http2;", f"listen 127.0.0.1:{self.port} ssl http2;"),
            ("auth.example.com;", f"{NAME};"),
            ("/etc/letsencrypt/live/auth.example.com/", f"{self.directory}/"),
            ("127.0.0.1:8081", f"127.0.0.1:{self.behind}"),
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
        self.access_log = self.directory / "access.log"
        self.error_log = self.directory / "log"
        for old, new in [
            ("\n{\n", "\n{\n\tadmin off\n\tauto_https disable_redirects\n"),
            ("\nauth.example.com {\n", f"\n{self.issuer} {{\n\tbind 127.0.0.1\n"
             f"\ttls {self.directory}/fullchain.pem {self.directory}/privkey.pem\n"),
            ("127.0.0.1:8081 {", f"127.0.0.1:{self.behind} {{"),
            ("\tlog {\n\t\tformat", f"\tlog {{\n\t\toutput file {self.access_log}\n\t\tformat"),
        ]:
            assert old in text, old
            text = text.replace(old, new)
        (self.directory / "Caddyfile").write_text(text)
        environment = {**os.environ, "HOME": str(self.directory), "XDG_DATA_HOME": str(self.directory),
                       "XDG_CONFIG_HOME": str(self.directory)}
        self.spawn(["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"], stdout=log, stderr=log, env=environment)

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


def sign_in(deployment, browser):
    """The code flow with PKCE; returns the tokens."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    state = secrets.token_urlsafe(16)
    url = f"{deployment.issuer}/oauth/authorize?" + urllib.parse.urlencode({
        "response_type": "code", "client_id": deployment.client["client_id"], "redirect_uri": REDIRECT_URI,
        "scope": "openid profile email", "state": state, "code_challenge": challenge, "code_challenge_method": "S256",
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
            form = urllib.parse.urlencode({"username": "alice", "action": "sign-in"})
        else:
            assert 300 <= status < 400, (status, text)
            url = urllib.parse.urljoin(url, headers["Location"])
    answer = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert answer["state"] == state and answer["iss"] == deployment.issuer, answer
    tokens = token(deployment, browser, grant_type="authorization_code", code=answer["code"], redirect_uri=REDIRECT_URI,
                   code_verifier=verifier)
    return answer["code"], tokens


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
        if proxy == "nginx":
            status, headers, _ = browser.send("GET", f"http://{NAME}:{deployment.plain_port}/oauth/authorize?a=b")
            assert status == 301 and headers["Location"].startswith("https://"), (status, headers["Location"])
        # An authorization request of almost 16 KiB arrives.
        status, _, text = browser.send("GET", f"{deployment.issuer}/oauth/authorize?state={'x' * 15000}")
        assert status == 400, status
        # No code and no state in the proxy's log.
        written = deployment.access_log.read_text()
        assert "/oauth/authorize" in written and code not in written and "state=" not in written, written[-2000:]
        report = json.loads(deployment.run("validate", "--live", "--at", "127.0.0.1", "--seen-as", "127.0.0.1", "--json",
                                           check=False, SSL_CERT_FILE=deployment.authority))
        expected = ("superuser", "fsync", "app.example.com")
        left = [finding for finding in report["findings"] if not any(word in finding["problem"] for word in expected)]
        assert not left, json.dumps(left, indent=1)
        # Nor in its log of errors, when nobody answers it.
        deployment.server.send_signal(signal.SIGTERM)
        deployment.server.wait(timeout=30)
        status, _, _ = browser.send("GET", f"{deployment.issuer}/oauth/authorize?state=secret")
        assert status in (502, 503), status
        errors = deployment.error_log.read_text()
        assert "state=" not in errors, errors[-2000:]
    print(f"{proxy}: a person signed in, refreshed, and was seen as {PERSON_ADDRESS}")


main()
