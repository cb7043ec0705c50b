// An API that believes access tokens by their signature: RFC 9068 (JWT profile), RFC 6750 (how they are sent and refused).
import http from "node:http";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";

const { ISSUER, AUDIENCE, REQUIRED_SCOPE = "profile", BASE_URL = "http://localhost:3000" } = process.env;

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

// The claims of the token, if it is one for this API that has the scope.
async function authorize(request, scope) {
  const [, token] = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(request.headers.authorization ?? "") ?? [];
  // RFC 6750 §3.1: no error code for a request that shows no token.
  if (token === undefined) throw new Refusal(401, null, "a token is needed");
  let claims;
  try {
    ({ payload: claims } = await jwtVerify(token, keys, {
      // RFC 9068 §4. The type keeps ID tokens and sessions out; the audience keeps out what is meant for others.
      typ: "at+jwt",
      issuer: ISSUER,
      audience: AUDIENCE,
      algorithms: ["RS256", "ES256"],
      requiredClaims: ["exp", "iat", "sub", "client_id", "jti"],
    }));
  } catch (error) {
    const isAboutToken = error instanceof errors.JOSEError && !ABOUT_KEYS.includes(error.code);
    if (!isAboutToken) throw error;
    throw new Refusal(401, "invalid_token", "the token is not good here");
  }
  if (!(claims.scope ?? "").split(" ").includes(scope)) {
    throw new Refusal(403, "insufficient_scope", `the scope ${scope} is needed`);
  }
  return claims;
}

async function answer(request) {
  const { pathname } = new URL(request.url, BASE_URL);
  if (request.method !== "GET" || pathname !== "/api/me") return [404, { error: "not_found" }];
  const claims = await authorize(request, REQUIRED_SCOPE);
  // Who it is (`sub`), and for which app (`client_id`). A logout is seen when the token runs out; an API that has to know
  // at once asks introspection.
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
