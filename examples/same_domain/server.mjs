// An app on a sibling host of riley-auth's that is no OAuth client: it believes the access cookie of the domain.
import http from "node:http";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";

const { ISSUER, PROVIDER = "google", BASE_URL = "http://localhost:3000" } = process.env;
// Without https, which development alone has, the name has no `__Secure-`.
const COOKIE = process.env.COOKIE ?? "__Secure-auth_access";

const keys = createRemoteJWKSet(new URL(`${ISSUER}/.well-known/jwks.json`));
// What goes wrong with the key list is not the visitor's fault.
const ABOUT_KEYS = ["ERR_JOSE_GENERIC", "ERR_JWKS_INVALID", "ERR_JWKS_TIMEOUT"];

// Who the cookie says it is, or null.
async function visitor(request) {
  const pairs = (request.headers.cookie ?? "").split(";").map((pair) => pair.trim().split("="));
  const token = pairs.find(([name]) => name === COOKIE)?.[1];
  if (!token) return null;
  try {
    const { payload } = await jwtVerify(token, keys, {
      // The type keeps out the tokens of apps: those are signed by the same keys, and people hand them to others.
      typ: "session+jwt",
      issuer: ISSUER,
      audience: ISSUER,
      algorithms: ["RS256", "ES256"],
      requiredClaims: ["exp", "sub", "sid", "username", "role"],
    });
    return payload;
  } catch (error) {
    const isAboutToken = error instanceof errors.JOSEError && !ABOUT_KEYS.includes(error.code);
    if (isAboutToken) return null;
    throw error;
  }
}

async function answer(request) {
  const person = await visitor(request);
  const { pathname } = new URL(request.url, BASE_URL);
  if (pathname === "/api/me") {
    if (person === null) return [401, "application/json", JSON.stringify({ error: "not signed in" })];
    const { sub, username, role } = person;
    return [200, "application/json", JSON.stringify({ sub, username, role })];
  }
  if (pathname !== "/") return [404, "text/plain", "not found"];
  const signIn = `${ISSUER}/auth/${PROVIDER}?${new URLSearchParams({ return_to: `${BASE_URL}/` })}`;
  const says =
    person === null
      ? `<a id="sign-in" href="${escape(signIn)}">Sign in</a>`
      : `Hello, <b id="username">${escape(person.username)}</b>.`;
  return [200, "text/html; charset=utf-8", `<!doctype html><html lang="en"><title>Example</title><p>${says}</p></html>`];
}

function escape(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

const server = http.createServer(async (request, response) => {
  const [status, type, body] = await answer(request).catch((error) => {
    console.error(error);
    return [500, "text/plain", "that did not work"];
  });
  // The same address shows another person something else.
  response.writeHead(status, { "Content-Type": type, "Cache-Control": "no-store" }).end(body);
});
server.listen(Number(new URL(BASE_URL).port), "127.0.0.1", () => console.log(`open ${BASE_URL}/`));
