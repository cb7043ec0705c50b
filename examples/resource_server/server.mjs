// An API that believes access tokens: by their signature (RFC 9068), or, where it has a client id and a secret of its own, by
// asking the provider each time (RFC 7662). How they are sent and refused is RFC 6750.
import http from "node:http";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";

const { ISSUER, AUDIENCE, REQUIRED_SCOPE = "profile", BASE_URL = "http://localhost:3000" } = process.env;
const { CLIENT_ID, CLIENT_SECRET } = process.env;

// Read once, here: where the keys are and what signs. The keys themselves are read again when an unknown one appears.
const discovery = await fetch(`${ISSUER}/.well-known/openid-configuration`);
const metadata = await discovery.json();
if (!discovery.ok || metadata.issuer !== ISSUER) throw new Error(`${ISSUER} does not say that it is itself`);
const keys = createRemoteJWKSet(new URL(metadata.jwks_uri));
// What goes wrong with the key list is not the caller's fault.
const ABOUT_KEYS = ["ERR_JOSE_GENERIC", "ERR_JWKS_INVALID", "ERR_JWKS_TIMEOUT"];

class Refusal extends Error {
  constructor(status, code, description) {
    super(description);
    this.status = status;
    this.challenge = code ? `Bearer error="${code}", error_description="${description}"` : "Bearer";
  }
}

// The claims of a token for this API, or null. Nothing is asked of the provider, but for its keys now and then.
async function verify(token) {
  try {
    const { payload } = await jwtVerify(token, keys, {
      // RFC 9068 §4. The type keeps ID tokens and sessions out; the audience keeps out what is meant for others.
      typ: "at+jwt",
      issuer: ISSUER,
      audience: AUDIENCE,
      algorithms: ["RS256", "ES256"],
      requiredClaims: ["exp", "iat", "sub", "client_id", "jti"],
    });
    return payload;
  } catch (error) {
    const isAboutToken = error instanceof errors.JOSEError && !ABOUT_KEYS.includes(error.code);
    if (isAboutToken) return null;
    throw error;
  }
}

// The same from the provider's own mouth, which knows what has been revoked.
async function introspect(token) {
  const credentials = [CLIENT_ID, CLIENT_SECRET].map(encodeURIComponent).join(":");
  const response = await fetch(metadata.introspection_endpoint, {
    method: "POST",
    headers: { authorization: `Basic ${btoa(credentials)}` },
    body: new URLSearchParams({ token, token_type_hint: "access_token" }),
  });
  if (!response.ok) throw new Error(`introspection answers ${response.status}`);
  const claims = await response.json();
  // A token for another API is active, too.
  const isForUs = claims.active && claims.token_type === "Bearer" && claims.iss === ISSUER && claims.aud === AUDIENCE;
  return isForUs ? claims : null;
}

// The claims of the token, if it is one for this API that has the scope.
async function authorize(request, scope) {
  const [, token] = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(request.headers.authorization ?? "") ?? [];
  // RFC 6750 §3.1: no error code for a request that shows no token.
  if (token === undefined) throw new Refusal(401, null, "a token is needed");
  const claims = await (CLIENT_ID === undefined ? verify(token) : introspect(token));
  if (claims === null) throw new Refusal(401, "invalid_token", "the token is not good here");
  if (!(claims.scope ?? "").split(" ").includes(scope)) {
    throw new Refusal(403, "insufficient_scope", `the scope ${scope} is needed`);
  }
  return claims;
}

async function answer(request) {
  const { pathname } = new URL(request.url, BASE_URL);
  if (request.method !== "GET" || pathname !== "/api/me") return [404, { error: "not_found" }];
  const claims = await authorize(request, REQUIRED_SCOPE);
  // Who it is (`sub`), and for which app (`client_id`).
  return [200, { sub: claims.sub, client_id: claims.client_id }];
}

const server = http.createServer(async (request, response) => {
  let status, body;
  try {
    [status, body] = await answer(request);
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    status = error.status ?? 500;
    body = { error: error instanceof Refusal ? error.message : "server_error" };
    if (error.challenge) response.setHeader("WWW-Authenticate", error.challenge);
  }
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
});
server.listen(Number(new URL(BASE_URL).port), "127.0.0.1", () => console.log(`${BASE_URL}/api/me`));
