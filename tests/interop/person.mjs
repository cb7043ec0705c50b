// A person at a browser without JavaScript or a screen: opens an authorization URL, signs in at the simulated upstream,
// picks the username that is suggested, lets the app in, and ends where the app would take over.
//
//   node person.mjs NAME AUTHORIZATION_URL REDIRECT_URI      prints the URL that the app would be called with
//
// Knows what `riley-auth dev` starts: the upstream's forms, the deployer's pages by their URLs (their work is done here
// on the same JSON API), and nothing of any client library.
import http from "node:http";

const MAX_STEPS = 30;
const [name, authorizationUrl, redirectUri] = process.argv.slice(2);
if (redirectUri === undefined) fail("usage: person.mjs NAME AUTHORIZATION_URL REDIRECT_URI");
const issuer = authorizationUrl.slice(0, authorizationUrl.indexOf("/oauth/authorize"));

// Cookies by host name, path and name. As in browsers, the port tells nothing apart.
const jar = new Map();

function remember(url, lines = []) {
  for (const line of lines) {
    const [pair, ...attributes] = line.split(";").map((part) => part.trim());
    const [key, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
    const attribute = (wanted) =>
      attributes.map((text) => text.split("=")).find(([found]) => found.toLowerCase() === wanted)?.[1] ?? null;
    const path = attribute("path") ?? "/";
    const id = `${url.hostname} ${path} ${key}`;
    if (attribute("max-age") === "0") jar.delete(id);
    else jar.set(id, { host: url.hostname, path, key, value });
  }
}

function cookiesFor(url) {
  const fits = (path) => url.pathname === path || url.pathname.startsWith(path.endsWith("/") ? path : `${path}/`);
  const cookies = [...jar.values()].filter((cookie) => cookie.host === url.hostname && fits(cookie.path));
  return cookies.map(({ key, value }) => `${key}=${value}`).join("; ");
}

function send(method, address, headers = {}, body = "") {
  const url = new URL(address);
  const cookie = cookiesFor(url);
  const options = { method, headers: { ...headers, ...(cookie && { cookie }), "content-length": Buffer.byteLength(body) } };
  return new Promise((resolve, reject) => {
    const request = http.request(url, options, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        remember(url, response.headers["set-cookie"]);
        resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

// What a page of the deployer does by `fetch`, with the headers that a browser adds.
async function call(page, method, path, value) {
  const headers = { accept: "application/json", "x-requested-with": "interop", "sec-fetch-site": "same-site" };
  if (method !== "GET") Object.assign(headers, { origin: page.origin, "content-type": "application/json" });
  const response = await send(method, issuer + path, headers, value === undefined ? "" : JSON.stringify(value));
  if (response.status !== 200) fail(`${method} ${path.split("?")[0]} answers ${response.status}: ${response.text}`);
  return JSON.parse(response.text);
}

// The next URL after a page that was shown.
async function act(page, html) {
  const requestId = page.searchParams.get("request_id");
  if (requestId !== null) {
    const [provider] = await call(page, "GET", "/auth/providers");
    return `${issuer}/auth/${provider.name}?${new URLSearchParams({ request_id: requestId })}`;
  }
  if (page.pathname === "/welcome") {
    const setup = await call(page, "GET", "/auth/setup");
    return (await call(page, "POST", "/auth/setup", { username: setup.suggested_username })).redirect_to;
  }
  const consentId = page.searchParams.get("consent_id");
  if (consentId !== null) {
    const context = await call(page, "GET", `/oauth/consent?${new URLSearchParams({ consent_id: consentId })}`);
    if (context.scopes.length === 0) fail("the consent names no scope");
    return (await call(page, "POST", "/oauth/consent", { consent_id: consentId, approved: true })).redirect_to;
  }
  const action = /<form method="post" action="([^"]+)"/.exec(html)?.[1];
  if (action === undefined || !html.includes('name="username"')) fail(`nothing to do on ${page.href}:\n${html}`);
  const form = new URLSearchParams({ username: name, action: "sign-in" }).toString();
  const target = new URL(action.replaceAll("&amp;", "&"), page);
  const response = await send("POST", target, { "content-type": "application/x-www-form-urlencoded", origin: page.origin }, form);
  return location(response, target);
}

function location(response, url) {
  if (response.status < 300 || response.status > 399) fail(`${url.href} answers ${response.status}: ${response.text}`);
  return new URL(response.headers.location, url).href;
}

function fail(why) {
  console.error(`person: ${why}`);
  process.exit(1);
}

let next = authorizationUrl;
for (let step = 0; step < MAX_STEPS; step += 1) {
  if (next.startsWith(`${redirectUri}?`)) {
    console.log(next);
    process.exit(0);
  }
  const url = new URL(next);
  const response = await send("GET", url, { accept: "text/html", "sec-fetch-mode": "navigate" });
  if (response.status === 200) next = await act(url, response.text);
  else next = location(response, url);
}
fail(`still not back at the app after ${MAX_STEPS} steps, last at ${next}`);
