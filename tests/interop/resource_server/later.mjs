// Loaded before the example: `GET /later` makes it half a minute later there, so that nobody waits that long.
import http from "node:http";

const now = Date.now;
let elapsedMilliseconds = 0;
Date.now = () => now() + elapsedMilliseconds;

const { createServer } = http;
http.createServer = (listener) =>
  createServer((request, response) => {
    if (request.url !== "/later") return listener(request, response);
    elapsedMilliseconds += 31_000;
    response.end();
  });
