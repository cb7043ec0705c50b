// The example resource server is called with access tokens that are for it, and with what is not.
import { strict as assert } from "node:assert";
import * as client from "openid-client";
import { Person } from "../person.mjs";

const { APP_URL, BASE_URL, CLIENT_ID, CLIENT_SECRET, DISCOVERY_URL, ISSUER, OTHER_CLIENT_ID, OTHER_CLIENT_SECRET, REDIRECT_URI } =
  process.env;
const person = new Person("rosa", ISSUER);

async function signIn(clientId, clientSecret, scope) {
  const config = await client.discovery(new URL(DISCOVERY_URL), clientId, clientSecret, undefined, {
    execute: [client.allowInsecureRequests],
  });
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT_URI,
    scope,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
  });
  const callback = await person.goTo(url.href, APP_URL);
  return client.authorizationCodeGrant(config, new URL(callback), { pkceCodeVerifier });
}

async function call(token) {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(`${BASE_URL}/api/me`, { headers });
  return { status: response.status, challenge: response.headers.get("www-authenticate"), body: await response.json() };
}

const tokens = await signIn(CLIENT_ID, CLIENT_SECRET, "openid profile");
const { sub } = tokens.claims();
assert.deepEqual(await call(tokens.access_token), { status: 200, challenge: null, body: { sub, client_id: CLIENT_ID } });

const none = await call(undefined);
assert.deepEqual([none.status, none.challenge], [401, "Bearer"], "no token, no error code (RFC 6750 section 3.1)");

const elsewhere = await signIn(OTHER_CLIENT_ID, OTHER_CLIENT_SECRET, "openid profile");
const [header, payload, signature] = tokens.access_token.split(".");
const forged = Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(payload, "base64url")), sub: "somebody else" }));
const refused = {
  "an ID token": tokens.id_token,
  "an access token for another audience": elsewhere.access_token,
  "other claims under the same signature": `${header}.${forged.toString("base64url")}.${signature}`,
  "a refresh token": tokens.refresh_token,
};
for (const [what, token] of Object.entries(refused)) {
  const { status, challenge } = await call(token);
  assert.equal(status, 401, what);
  assert.match(challenge, /^Bearer error="invalid_token"/, what);
}

const narrow = await call((await signIn(CLIENT_ID, CLIENT_SECRET, "openid")).access_token);
assert.equal(narrow.status, 403);
assert.match(narrow.challenge, /^Bearer error="insufficient_scope"/);
