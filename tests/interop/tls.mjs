// Speaks TLS for servers that do not: node tls.mjs KEY CERTIFICATE PORT=TO…
//
// The port hands on to the one TO, or, if that is a file, shows it at every path, with ISSUER in the place of `$ISSUER`.
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

const [key, certificate, ...ports] = process.argv.slice(2);
const credentials = { key: readFileSync(key), cert: readFileSync(certificate) };

for (const [from, to] of ports.map((pair) => pair.split("="))) {
  const page = Number(to) ? null : readFileSync(to, "utf8").replaceAll("$ISSUER", process.env.ISSUER);
  const server = https.createServer(credentials, (incoming, outgoing) => {
    if (page !== null) return outgoing.setHeader("content-type", "text/html").end(page);
    const headers = { ...incoming.headers, "x-forwarded-for": incoming.socket.remoteAddress };
    const request = http.request({ host: "127.0.0.1", port: to, method: incoming.method, path: incoming.url, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(outgoing);
    });
    request.on("error", () => outgoing.writeHead(502).end());
    incoming.pipe(request);
  });
  server.listen(Number(from), "127.0.0.1");
}
