"""riley-auth in the shape that the conformance suite needs: two host names, TLS, three clients, a person with every claim.

The program itself is `riley-auth serve` with the riley-auth.toml beside this file, behind an nginx that ends TLS. What it
needs around it (PostgreSQL, upstream, pages) comes from `examples/conformance_surroundings.rs`.

    https://localhost:9443   the provider
    https://localhost:9445   the deployer's pages: sign-in and consent
    http://127.0.0.1:9444    the simulated upstream, under another host name
"""

import json
import os
import pathlib
import secrets
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
ISSUER = "https://localhost:9443"
UPSTREAM_PORT = 9444
FRONT_END_PORT = 9455
START_LIMIT_SECS = 60

# The names by which a plan's configuration refers to a client, and how that client authenticates.
CLIENTS = {
    "client": "client_secret_basic",
    "client2": "client_secret_basic",
    "client_secret_post": "client_secret_post",
}

NGINX = """
pid nginx.pid;
error_log stderr warn;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    ssl_certificate certificate.pem;
    ssl_certificate_key key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto https;
    server {{ listen 127.0.0.1:9443 ssl; location / {{ proxy_pass http://127.0.0.1:9453; }} }}
    server {{ listen 127.0.0.1:9445 ssl; location / {{ proxy_pass http://127.0.0.1:9455; }} }}
}}
"""


def build(release):
    """Builds the program and its surroundings; returns the program's path."""
    profile = ["--release"] if release else []
    command = ["cargo", "build", "--locked", "--quiet", *profile, "--bin", "riley-auth", "--example", "conformance_surroundings"]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    metadata = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    target = json.loads(subprocess.check_output(metadata, cwd=REPOSITORY))["target_directory"]
    return pathlib.Path(target) / ("release" if release else "debug")


class Provider:
    """A running provider. Use as a context manager: leaving it ends every process and removes every file."""

    def __init__(self, binaries, redirect_uri):
        self.binaries = binaries
        self.redirect_uri = redirect_uri
        self.processes = []
        self.clients = {}

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="riley-auth-conformance-"))
        try:
            self._start()
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
        self.processes = []
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self):
        surroundings = self._run_surroundings()
        keys = self.directory / "keys"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RILEY_AUTH")},
            "CONFORMANCE_DATABASE_URL": surroundings["database_url"],
            "CONFORMANCE_UPSTREAM_ISSUER": surroundings["upstream_issuer"],
            "CONFORMANCE_UPSTREAM_CLIENT_ID": surroundings["upstream_client_id"],
            "CONFORMANCE_UPSTREAM_CLIENT_SECRET": surroundings["upstream_client_secret"],
            "CONFORMANCE_SECRET_KEY": secrets.token_urlsafe(32),
            "CONFORMANCE_ES256_KEY": str(keys / "es256.pem"),
            "CONFORMANCE_RS256_KEY": str(keys / "rs256.pem"),
        }
        for algorithm in ("es256", "rs256"):
            self._generate_key(algorithm, keys)
        self._command("migrate")
        for name, method in CLIENTS.items():
            self.clients[name] = self._register(name, method)
        log = open(self.directory / "riley-auth.log", "wb")
        self._spawn([self.binaries / "riley-auth", "serve", "--config", HERE / "riley-auth.toml"], stdout=log, stderr=log)
        self._start_nginx()
        self._wait_until_ready()

    def _spawn(self, command, **options):
        process = subprocess.Popen(command, env=getattr(self, "environment", None), **options)
        self.processes.append(process)
        return process

    def _run_surroundings(self):
        program = self.binaries / "examples" / "conformance_surroundings"
        command = [program, ISSUER, str(UPSTREAM_PORT), str(FRONT_END_PORT)]
        process = self._spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the surroundings of the provider did not start")
        return json.loads(line)

    def _command(self, *arguments):
        command = [self.binaries / "riley-auth", *arguments, "--config", HERE / "riley-auth.toml", "--json"]
        return subprocess.check_output(command, env=self.environment)

    def _generate_key(self, algorithm, keys):
        made = self.directory / algorithm
        command = [self.binaries / "riley-auth", "generate-keys", "--algorithm", algorithm, "--output-dir", made]
        size = ["--key-size", "2048"] if algorithm == "rs256" else []
        subprocess.run([*command, *size], env=self.environment, check=True, capture_output=True)
        private = [path for path in made.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
        keys.mkdir(exist_ok=True)
        private[0].rename(keys / f"{algorithm}.pem")

    def _register(self, name, method):
        answer = self._command(
            "register-client", "--name", f"Conformance suite ({name})", "--redirect-uri", self.redirect_uri,
            "--no-require-pkce", "--token-endpoint-auth-method", method,
            "--scope", "address", "--scope", "phone", "--scope", "offline_access",
        )
        client = json.loads(answer)
        return {"client_id": client["client_id"], "client_secret": client["client_secret"]}

    def _start_nginx(self):
        certificate = [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "certificate.pem",
        ]
        subprocess.run(certificate, cwd=self.directory, check=True, stderr=subprocess.DEVNULL)
        # Started by root, nginx would give up the right to enter this directory.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = self.directory / "nginx.conf"
        configuration.write_text(NGINX.format(user=user))
        self._spawn(["nginx", "-p", self.directory, "-c", configuration, "-e", "stderr", "-g", "daemon off;"])

    def _wait_until_ready(self):
        deadline = time.monotonic() + START_LIMIT_SECS
        while True:
            try:
                with urllib.request.urlopen(f"{ISSUER}/ready", context=any_certificate(), timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                log = (self.directory / "riley-auth.log").read_text(errors="replace")
                raise RuntimeError(f"the provider did not start:\n{log[-4000:]}")
            time.sleep(0.2)


def any_certificate():
    """Loopback servers with certificates that they signed themselves."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
