"""Requests that two programs might cut apart differently (RFC 9112 §11.2), through a proxy and without one.

    framing.py nginx|caddy PROGRAM SURROUNDINGS

PROGRAM and SURROUNDINGS are those of sign_in.py, and so is the deployment. Line ends that are a lone LF or CR, folded lines,
contradicting lengths, odd chunks and hosts are sent on one connection, with a second request wherever one program would find
the end of the first. Each request has an id, which riley-auth writes into its log and into its answer. So what riley-auth has
read is compared with what whoever sent it was answered: a request that was read and not answered there would be a smuggled one.
After each attack somebody else asks, and has to get the answer to their own question.

Then the same bytes are sent to an instance without the proxy. It may read less than the proxy did, or refuse, but where the
proxy refused nothing it never finds another request than the proxy did: where one program ends a head by a lone LF, so does the
other. Where the proxy refused, the two are not compared: it may have begun to hand on the request that it then refused, and that
one alone.
"""

import json
import os
import re
import socket
import ssl
import sys
import time

from sign_in import NAME, Deployment

# How long a first answer may take, and how long a connection that says nothing more is listened to: some of these requests never
# end.
PATIENCE_SECS = 20
SILENCE_SECS = 1
WITHOUT = "x-000-without"
QUIET_ROUTES = ("/health", "/ready", "/metrics")


def head(line, *fields, end="\r\n"):
    return "".join(f"{field}{end}" for field in (line, *fields)) + end


class Cases:
    """Each is a name and bytes. `{one}`, `{two}` are the ids of the first request and of the one that follows or is hidden."""

    def __init__(self, host):
        self.host = f"Host: {host}"
        self.all = {}
        self.line_ends()
        self.lengths()
        self.chunks()
        self.hosts_and_lines()

    def get(self, which, *fields, end="\r\n", path="/.well-known/jwks.json"):
        return head(f"GET {path} HTTP/1.1", self.host, f"X-Request-Id: {{{which}}}", *fields, end=end)

    def last(self):
        return self.get("two", "Connection: close", path="/auth/providers")

    def post(self, fields, body):
        form = "Content-Type: application/x-www-form-urlencoded"
        return head("POST /oauth/token HTTP/1.1", self.host, "X-Request-Id: {one}", form, *fields) + body

    def add(self, name, text):
        assert name not in self.all, name
        self.all[name] = text

    def line_ends(self):
        self.add("as it should be", self.get("one") + self.last())
        self.add("LF everywhere", self.get("one", end="\n") + self.last())
        self.add("LF everywhere, twice", self.get("one", end="\n") + self.get("two", "Connection: close", end="\n"))
        self.add("CR everywhere", self.get("one", end="\r") + self.last())
        self.add("LF CR everywhere", self.get("one", end="\n\r") + self.last())
        for name, between in {
            "LF in a value": "X: a\nX-B: b", "CR in a value": "X: a\rX-B: b", "CR at the end of a value": "X: a\r",
            "two CRs at the end of a line": "X: a\r\r", "an empty line of CR LF and LF": "X: a\r\n", "NUL in a value": "X: a\0b",
            "an empty line of LF and LF": "X: a\n", "a vertical tab in a value": "X: a\x0bb",
            "LF before a length": f"X: a\nContent-Length: {len(self.last()) - 5 + len('f-000-two')}",
            "CR before a length": f"X: a\rContent-Length: {len(self.last()) - 5 + len('f-000-two')}",
            "a folded line": "X: a\r\n b", "a line folded by LF": "X: a\n b", "a fold with a tab": "X: a\r\n\tb",
            "a folded length": "Content-Length:\r\n 0", "a length in a fold": "X: a\r\n Content-Length: 30",
            "a length in a fold by LF": "X: a\n Content-Length: 30", "a first fold": "\r\n X: a",
            "a space before a name": " X: a", "a space after a name": "X : a", "no colon": "X", "no name": ": a",
            "a CR alone on a line": "\r", "an LF in a name": "X\nY: a", "a CR in a name": "X\rY: a",
        }.items():
            self.add(name, self.get("one", between) + self.last())
        self.add("an empty line first", "\r\n" + self.get("one") + self.last())
        self.add("an LF first", "\n" + self.get("one") + self.last())
        self.add("many empty lines first", "\r\n\n\r\n" + self.get("one") + self.last())
        self.add("an LF between two", self.get("one") + "\n" + self.last())

    def lengths(self):
        hidden = self.last()
        size = len(hidden) - len("{two}") + len("f-000-two")
        for name, fields in {
            "two lengths": [f"Content-Length: {size}", "Content-Length: 0"],
            "two lengths, the other way": ["Content-Length: 0", f"Content-Length: {size}"],
            "one length twice": [f"Content-Length: {size}"] * 2,
            "lengths in one line": [f"Content-Length: 0, {size}"],
            "a length with a sign": [f"Content-Length: +{size}"],
            "a length below zero": ["Content-Length: -1"],
            "a length in hexadecimal": [f"Content-Length: 0x{size:x}"],
            "a length with a zero before": [f"Content-Length: 0{size}"],
            "a length with a space in it": [f"Content-Length: 0 {size}"],
            "a length after a tab": [f"Content-Length:\t{size}"],
            "a length after a vertical tab": [f"Content-Length: \x0b{size}"],
            "no length": ["Content-Length:"],
            "a length beyond 64 bits": [f"Content-Length: {2**64 + size}"],
            "a length with a space after its name": [f"Content-Length : {size}"],
            "a length that is hop-by-hop": [f"Content-Length: {size}", "Connection: Content-Length"],
            "a length ended by LF and another": [f"Content-Length: 0\nContent-Length: {size}"],
            "a length ended by CR and another": [f"Content-Length: 0\rContent-Length: {size}"],
            "an upgrade": ["Content-Length: 0", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
        }.items():
            self.add(name, self.post(fields, hidden))
        self.add("a GET with a body", self.get("one", f"Content-Length: {size}") + hidden)
        self.add("a GET with a body in chunks",
                 self.get("one", "Transfer-Encoding: chunked") + f"{size:x}\r\n{hidden}\r\n0\r\n\r\n")

    def chunks(self):
        hidden = self.last()
        size = len(hidden) - len("{two}") + len("f-000-two")
        ended = "0\r\n\r\n" + hidden
        chunked = "Transfer-Encoding: chunked"
        for name, fields in {
            "a length and chunks": ["Content-Length: 5", chunked],
            "chunks and a length": [chunked, "Content-Length: 5"],
            "a longer length and chunks": [f"Content-Length: {5 + size}", chunked],
            "chunks and a longer length": [chunked, f"Content-Length: {5 + size}"],
            "chunks that are hop-by-hop": [chunked, "Content-Length: 5", "Connection: Transfer-Encoding"],
        }.items():
            self.add(name, self.post(fields, ended))
        for name, coding in {
            "a space after the name": "Transfer-Encoding : chunked", "a tab": "Transfer-Encoding:\tchunked",
            "a vertical tab": "Transfer-Encoding: \x0bchunked", "capitals": "Transfer-Encoding: CHUNKED",
            "another name": "Transfer-Encoding: xchunked", "quotes": 'Transfer-Encoding: "chunked"',
            "identity after": "Transfer-Encoding: chunked, identity", "identity before": "Transfer-Encoding: identity, chunked",
            "twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "twice in one line": "Transfer-Encoding: chunked, chunked",
            "identity in another field": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "nothing": "Transfer-Encoding:", "a comma": "Transfer-Encoding: ,chunked", "a fold": "Transfer-Encoding:\r\n chunked",
            "a fold by LF": "Transfer-Encoding:\n chunked", "LF before it": "X: a\nTransfer-Encoding: chunked",
            "CR before it": "X: a\rTransfer-Encoding: chunked", "a NUL": "Transfer-Encoding: chunked\0",
            "an underscore": "Transfer_Encoding: chunked", "a parameter": "Transfer-Encoding: chunked;q=1",
        }.items():
            self.add(f"chunks with {name}", self.post([coding], ended))
            self.add(f"a length and chunks with {name}", self.post(["Content-Length: 5", coding], ended))
        for name, body in {
            "an extension": "5;a=b\r\nx=abc\r\n0\r\n\r\n", "an LF in an extension": "5;a\nb\r\nx=abc\r\n0\r\n\r\n",
            "an extension that ends by LF": f"5;a\nx=abc\r\n0\r\n\r\n", "a CR in an extension": "5;a\rb\r\nx=abc\r\n0\r\n\r\n",
            "a quoted LF": '5;a="\nb"\r\nx=abc\r\n0\r\n\r\n', "sizes that end by LF": "5\nx=abc\n0\n\n",
            "a size that ends by LF": "5\nx=abc\r\n0\r\n\r\n", "a size that ends by CR": "5\rx=abc\r\n0\r\n\r\n",
            "data that ends by LF": "5\r\nx=abc\n0\r\n\r\n", "data that ends by CR": "5\r\nx=abc\r0\r\n\r\n",
            "data that ends by nothing": "5\r\nx=abc0\r\n\r\n", "a last size that ends by LF": "5\r\nx=abc\r\n0\n\r\n",
            "a last line that is an LF": "5\r\nx=abc\r\n0\r\n\n", "a size with 0x": "0x5\r\nx=abc\r\n0\r\n\r\n",
            "a size with a sign": "+5\r\nx=abc\r\n0\r\n\r\n", "a size after a space": " 5\r\nx=abc\r\n0\r\n\r\n",
            "a size before a space": "5 \r\nx=abc\r\n0\r\n\r\n", "a size below zero": "-5\r\nx=abc\r\n0\r\n\r\n",
            "a size beyond 64 bits": "10000000000000005\r\nx=abc\r\n0\r\n\r\n", "no size": "\r\nx=abc\r\n0\r\n\r\n",
            "zeroes before the size": "0000000000000005\r\nx=abc\r\n0\r\n\r\n",
            "a trailer": "5\r\nx=abc\r\n0\r\nX-Trailer: a\r\n\r\n", "a trailer by LF": "5\r\nx=abc\r\n0\nX-Trailer: a\n\n",
            "a trailer that is a length": "5\r\nx=abc\r\n0\r\nContent-Length: 5\r\n\r\n",
            "an LF in a trailer": "5\r\nx=abc\r\n0\r\nX: a\nX-B: b\r\n\r\n",
            "a trailer without a colon": "5\r\nx=abc\r\n0\r\nX\r\n\r\n",
        }.items():
            self.add(f"chunks: {name}", self.post([chunked], body + hidden))
        # A chunk that is a request, for whoever believes the extension's line to have ended earlier.
        inner = f"{size:x}\r\n{hidden}\r\n"
        for name, between in {"LF": "\n", "CR": "\r", "CR CR LF": "\r\r\n"}.items():
            self.add(f"chunks: a chunk after {name} in an extension", self.post([chunked], f"5;{between}{inner}0\r\n\r\n" + hidden))
        old = head("POST /oauth/token HTTP/1.0", self.host, "X-Request-Id: {one}", "Connection: keep-alive", chunked)
        self.add("chunks in HTTP/1.0", old + ended)

    def hosts_and_lines(self):
        ours, other = self.host, "Host: attacker.example"
        rest = ["X-Request-Id: {one}"]
        for name, hosts in {
            "one host twice": [ours, ours], "two hosts": [ours, other], "another host first": [other, ours],
            "no host": [], "another host by LF": [f"{ours}\n{other}"], "another host by CR": [f"{ours}\r{other}"],
            "a host with a space after its name": [ours.replace(":", " :", 1)], "a host in a fold": ["X: a\r\n " + ours, other],
            "two hosts in one line": [f"{ours}, attacker.example"], "a host with somebody": [ours.replace(": ", ": a@", 1)],
            "no host in the line": ["Host:"],
        }.items():
            self.add(name, head("GET /.well-known/jwks.json HTTP/1.1", *hosts, *rest) + self.last())
        for name, line in {
            "two spaces": "GET  /.well-known/jwks.json HTTP/1.1", "a space at the end": "GET /.well-known/jwks.json HTTP/1.1 ",
            "a tab": "GET\t/.well-known/jwks.json\tHTTP/1.1", "no version": "GET /.well-known/jwks.json",
            "a version of its own": "GET /.well-known/jwks.json HTTP/1.2", "a long version": "GET /.well-known/jwks.json HTTP/1.10",
            "an LF in the target": "GET /.well-known/\njwks.json HTTP/1.1", "a CR in the target": "GET /.well-known/\rjwks.json HTTP/1.1",
            "a whole URL": "GET https://attacker.example/.well-known/jwks.json HTTP/1.1",
            "small letters": "get /.well-known/jwks.json http/1.1",
        }.items():
            self.add(f"a request line with {name}", head(line, ours, *rest) + self.last())
        old = head("GET /.well-known/jwks.json HTTP/1.0", "X-Request-Id: {one}", "Connection: keep-alive")
        self.add("HTTP/1.0 without a host", old + self.last())


def known(request_id):
    """An id of these tests; any other is one that riley-auth made up, because it has found none."""
    return request_id if request_id is None or request_id[1:2] == "-" else WITHOUT


class Answers:
    """What came back on one connection: the status and the request id of each answer."""

    def __init__(self, stream):
        self.bytes, self.found = b"", []
        stream.settimeout(PATIENCE_SECS)
        try:
            while part := stream.recv(65536):
                self.bytes += part
                stream.settimeout(SILENCE_SECS)
        except (TimeoutError, ssl.SSLError, ConnectionError):
            pass
        rest = self.bytes
        if rest and not rest.startswith(b"HTTP/"):
            # HTTP/0.9, which proxies still speak, has no head.
            self.found.append((0, WITHOUT))
            rest = b""
        while rest.startswith(b"HTTP/1."):
            said, _, rest = rest.partition(b"\r\n\r\n")
            lines = said.decode("latin-1").split("\r\n")
            status = int(lines[0].split()[1])
            fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            if status < 200:
                continue
            self.found.append((status, known(fields.get("x-request-id"))))
            if "content-length" in fields:
                rest = rest[int(fields["content-length"]):]
            elif "chunked" in fields.get("transfer-encoding", ""):
                while True:
                    size, _, rest = rest.partition(b"\r\n")
                    length = int(size.split(b";")[0] or b"0", 16)
                    rest = rest[length + 2:]
                    if length == 0:
                        break
            else:
                rest = b""
        self.remainder = rest

    def ids(self):
        """Of the answers that riley-auth gave; a proxy's own have none."""
        return [request_id for _, request_id in self.found if request_id]


class Log:
    """What the instances say they have read, from where somebody looked last."""

    def __init__(self, deployment):
        self.path, self.at = deployment.directory / "log", 0

    def since(self):
        with open(self.path, "rb") as file:
            file.seek(self.at)
            text = file.read()
        whole = text.rfind(b"\n") + 1
        self.at += whole
        ids = []
        for line in text[:whole].splitlines():
            if not line.startswith(b"{"):
                continue
            event = json.loads(line)
            if event.get("message") == "request" and event["http.route"] not in QUIET_ROUTES:
                ids.append(known(event["request.id"]))
        return ids


def ask(stream, text):
    try:
        stream.sendall(text.encode("latin-1"))
    except (ssl.SSLError, OSError):
        pass
    return Answers(stream)


def through_proxy(deployment, context, text):
    with socket.create_connection(("127.0.0.1", deployment.port), 10) as plain:
        with context.wrap_socket(plain, server_hostname=NAME) as stream:
            return ask(stream, text)


def without_proxy(deployment, text):
    with socket.create_connection(("127.0.0.1", deployment.behind[0]), 10) as stream:
        return ask(stream, text)


def are_answered(seen, answers, sent, last):
    """Whether what riley-auth has read is what the sender was answered, one by one, and then `last`. Where a proxy answers by
    itself, it may have begun to hand on the request that stood there."""
    sent_ids = re.findall(r"X-Request-Id: (\S+)", sent)
    left = list(seen)
    for place, (_, request_id) in enumerate(answers):
        if request_id:
            if not left or left.pop(0) != request_id:
                return False
        elif left and place < len(sent_ids) and left[0] == sent_ids[place]:
            left.pop(0)
    return left == [last]


def try_case(deployment, context, log, number, name, text):
    """The statuses through the proxy and without it."""
    def fill(prefix):
        ids = [f"{prefix}-{number:03}-{which}" for which in ("one", "two")]
        return text.replace("{one}", ids[0]).replace("{two}", ids[1])
    log.since()
    proxied = through_proxy(deployment, context, fill("f"))
    somebody = head("GET /auth/providers HTTP/1.1", f"Host: {NAME}:{deployment.port}", f"X-Request-Id: v-{number:03}",
                    "Connection: close")
    victim = through_proxy(deployment, context, somebody)
    # The answer to somebody else's question is theirs, whole, and no other.
    assert victim.found == [(200, f"v-{number:03}")] and not victim.remainder, (name, victim.bytes)
    seen = log.since()
    assert are_answered(seen, proxied.found, fill("f"), f"v-{number:03}"), (name, seen, proxied.bytes)
    direct = without_proxy(deployment, fill("d"))
    seen = log.since()
    assert [one for one in seen if one in direct.ids()] == direct.ids(), (name, seen, direct.bytes)
    # A request of which the body never came is given up when its sender has gone; nothing else is read and not answered.
    assert seen == direct.ids(), (name, seen, direct.bytes)
    # Where the proxy found two requests, we find the same two, or fewer. What it refused it may have begun to hand on
    # (`are_answered`), and has told nobody what it took it for.
    theirs, ours = [[one[6:] for one in answers.ids()] for answers in (proxied, direct)]
    refused = any(request_id is None for _, request_id in proxied.found)
    if not refused:
        assert theirs[:len(ours)] == ours, (name, proxied.bytes, direct.bytes)
    return proxied.found, direct.found


def main():
    proxy, program, surroundings = sys.argv[1], os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
    shown = "--show" in sys.argv[4:]
    with Deployment(proxy, program, surroundings) as deployment:
        # One instance, so that all requests share the proxy's connections to it.
        deployment.stop(1)
        context = ssl.create_default_context(cafile=deployment.authority)
        log = Log(deployment)
        cases = Cases(f"{NAME}:{deployment.port}").all
        # The proxy knows by then that the other one is gone.
        for _ in range(20):
            assert through_proxy(deployment, context, head(
                "GET /auth/providers HTTP/1.1", f"Host: {NAME}:{deployment.port}", "Connection: close")).found[0][0] == 200
        told, forwarded = {}, 0
        for number, (name, text) in enumerate(cases.items()):
            told[name] = try_case(deployment, context, log, number, name, text)
            forwarded += sum(1 for _, request_id in told[name][0] if request_id)
        if shown:
            for name, (proxied, direct) in told.items():
                print(f"{name:60} {[(s, i and i[6:]) for s, i in proxied]} | {[(s, i and i[6:]) for s, i in direct]}")
        # The checks have something to look at: two requests are two, and some that are odd are let through.
        assert [status for status, _ in told["as it should be"][0]] == [200, 200], told["as it should be"]
        assert [status for status, _ in told["LF everywhere, twice"][1]] == [200, 200], told["LF everywhere, twice"]
        assert forwarded > 40, forwarded
        time.sleep(0.5)
        assert log.since() == [], "nothing is read that nobody has sent"
    print(f"{proxy}: of {len(cases)} odd pairs of requests {forwarded} requests came through, each answered to its sender")


if __name__ == "__main__":
    main()
