// A person at a browser without JavaScript or a screen: signs in at the simulated upstream, picks the username that is
// suggested, lets the app in, and ends where the app takes over.
//
//   node person.mjs NAME ISSUER APP
//
// reads the URLs that an app sends the person to, a line each, and answers each by a line: the URL below APP (or below what
// stands on the line after a space) that the app would be called with, and after a space what the person did on the way
// ("login,upstream"; "-" for nothing). In a program
// for Node that is `new Person(NAME, ISSUER).goTo(URL, APP)`, and for an app that runs `new Person(NAME, ISSUER).open(URL)`:
// the first page that is the app's own.
//
// Knows what `riley-auth dev` starts: the upstream's forms, the deployer's pages by their URLs (their work is done here
// on the same JSON API), and nothing of any client library.
import http from "node:http";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const MAX_STEPS = 40;

export class Person {
  // What the person did at the provider, in order: "login" for the choice of an upstream, "upstream" for signing in there,
  // "welcome", "consent", "form_post".
  actions = [];
  // What they answer when they are asked whether to let the app in.
  approves = true;
  // Cookies by host name, path and name. As in browsers, the port tells nothing apart.
  #jar = new Map();

  constructor(name, issuer) {
    this.name = name;
    this.issuer = issuer;
    const port = Number(new URL(issuer).port);
    this.upstream = `http://127.0.0.1:${port + 2}`;
    this.frontEnd = `http://localhost:${port + 3}`;
  }

  // Follows redirects and does what the provider's pages ask for. Ends at a URL that `isEnd` admits, before it is opened,
  // or at the first page or refusal that is not the provider's: `{ url, status, headers, text }`.
  async open(start, { method = "GET", headers = {}, body = "", isEnd = () => false } = {}) {
    let next = { method, url: start, headers: { accept: "text/html", "sec-fetch-mode": "navigate", ...headers }, body };
    for (let step = 0; step < MAX_STEPS; step += 1) {
      if (isEnd(next.url)) return { url: next.url };
      const url = new URL(next.url);
      const response = await this.send(next.method, url, next.headers, next.body);
      if (response.status >= 300 && response.status <= 399) {
        next = visit(new URL(response.headers.location, url).href);
        continue;
      }
      if (![this.issuer, this.upstream, this.frontEnd].includes(url.origin)) return { url: url.href, ...response };
      if (response.status !== 200) fail(`${url.href} answers ${response.status}: ${response.text}`);
      next = await this.#act(url, response.text);
      if (next === null) return { url: url.href, ...response };
    }
    return fail(`still not back at the app after ${MAX_STEPS} steps, last at ${next.url}`);
  }

  // Goes where an app sends the person, to where the app takes over: that URL, which nobody has to listen at.
  async goTo(start, app) {
    this.actions.length = 0;
    const end = await this.open(start, { isEnd: (url) => url.startsWith(app) });
    if (!end.url.startsWith(app)) fail(`ended at ${end.url}:\n${end.text}`);
    return end.url;
  }

  // One request with the person's cookies; no redirect is followed.
  send(method, address, headers = {}, body = "") {
    const url = new URL(address);
    const cookie = this.#cookiesFor(url);
    const all = { ...headers, ...(cookie && { cookie }), "content-length": Buffer.byteLength(body) };
    return new Promise((resolve, reject) => {
      const request = http.request(url, { method, headers: all }, (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("end", () => {
          this.#remember(url, response.headers["set-cookie"]);
          resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() });
        });
      });
      request.on("error", reject);
      request.end(body);
    });
  }

  // What the provider's cookie of this name holds.
  cookie(key) {
    return [...this.#jar.values()].find((cookie) => cookie.host === new URL(this.issuer).hostname && cookie.key === key)?.value;
  }

  #remember(url, lines = []) {
    for (const line of lines) {
      const [pair, ...attributes] = line.split(";").map((part) => part.trim());
      const [key, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
      const attribute = (wanted) => {
        const found = attributes.find((text) => text.split("=")[0].toLowerCase() === wanted);
        return found?.slice(wanted.length + 1) ?? null;
      };
      const path = attribute("path") ?? "/";
      const id = `${url.hostname} ${path} ${key}`;
      const isOver = Number(attribute("max-age") ?? 1) <= 0 || Date.parse(attribute("expires") ?? "") < Date.now();
      if (isOver) this.#jar.delete(id);
      else this.#jar.set(id, { host: url.hostname, path, key, value });
    }
  }

  #cookiesFor(url) {
    const fits = (path) => url.pathname === path || url.pathname.startsWith(path.endsWith("/") ? path : `${path}/`);
    const cookies = [...this.#jar.values()].filter((cookie) => cookie.host === url.hostname && fits(cookie.path));
    return cookies.map(({ key, value }) => `${key}=${value}`).join("; ");
  }

  // Signs out at the provider itself, as a page of the deployer does. The apps hear of it by back-channel logout.
  async signOutAtProvider() {
    await this.#call("POST", "/auth/logout", {});
  }

  // What a page of the deployer does by `fetch`, with the headers that a browser adds.
  async #call(method, path, value) {
    const headers = { accept: "application/json", "x-requested-with": "interop", "sec-fetch-site": "same-site" };
    if (method !== "GET") Object.assign(headers, { origin: this.frontEnd, "content-type": "application/json" });
    const response = await this.send(method, this.issuer + path, headers, value === undefined ? "" : JSON.stringify(value));
    if (response.status !== 200) fail(`${method} ${path.split("?")[0]} answers ${response.status}: ${response.text}`);
    return JSON.parse(response.text);
  }

  // The request that follows on a page that was shown; null if the person has nothing to do there.
  async #act(page, html) {
    const requestId = page.searchParams.get("request_id");
    if (requestId !== null) {
      this.actions.push("login");
      const [provider] = await this.#call("GET", "/auth/providers");
      return visit(`${this.issuer}/auth/${provider.name}?${new URLSearchParams({ request_id: requestId })}`);
    }
    if (page.pathname === "/welcome") {
      this.actions.push("welcome");
      const setup = await this.#call("GET", "/auth/setup");
      return visit((await this.#call("POST", "/auth/setup", { username: setup.suggested_username })).redirect_to);
    }
    const consentId = page.searchParams.get("consent_id");
    if (consentId !== null) {
      this.actions.push("consent");
      const context = await this.#call("GET", `/oauth/consent?${new URLSearchParams({ consent_id: consentId })}`);
      if (context.scopes.length === 0) fail("the consent names no scope");
      return visit((await this.#call("POST", "/oauth/consent", { consent_id: consentId, approved: this.approves })).redirect_to);
    }
    if (page.origin === this.frontEnd) return null;
    const action = /<form[^>]* method="post"[^>]* action="([^"]+)"/i.exec(html)?.[1];
    if (action === undefined) return fail(`nothing to do on ${page.href}:\n${html}`);
    const target = new URL(unescape(action), page);
    if (html.includes('name="username"')) {
      this.actions.push("upstream");
      return post(target.href, page.origin, { username: this.name, action: "sign-in" });
    }
    // A page that only hands its hidden fields on: `response_mode=form_post`.
    this.actions.push("form_post");
    const inputs = [...html.matchAll(/<input[^>]* name="([^"]*)"[^>]* value="([^"]*)"/g)];
    return post(target.href, page.origin, Object.fromEntries(inputs.map(([, key, value]) => [key, unescape(value)])));
  }
}

const visit = (url) => ({ method: "GET", url, headers: { accept: "text/html", "sec-fetch-mode": "navigate" }, body: "" });

const post = (url, origin, fields) => ({
  method: "POST",
  url,
  headers: { accept: "text/html", "content-type": "application/x-www-form-urlencoded", origin },
  body: new URLSearchParams(fields).toString(),
});

function unescape(html) {
  return html
    .replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'")
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&amp;", "&");
}

function fail(why) {
  throw new Error(`person: ${why}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, issuer, app] = process.argv.slice(2);
  if (app === undefined) fail("usage: person.mjs NAME ISSUER APP");
  const person = new Person(name, issuer);
  for await (const line of createInterface({ input: process.stdin })) {
    const [url, end = app] = line.split(" ");
    console.log(await person.goTo(url, end), person.actions.join(",") || "-");
  }
}
