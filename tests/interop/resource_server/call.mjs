// The example resource server is called with access tokens that are for it, and with what is not.
//
//   node call.mjs signature|introspection      how it judges them
import { strict as assert } from "node:assert";
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { Person } from "../person.mjs";
import { call, decoded, signInFor } from "./tokens.mjs";

const [manner] = process.argv.slice(2);
const { CLIENT_ID, CLIENT_SECRET, ISSUER, OTHER_CLIENT_ID, OTHER_CLIENT_SECRET } = process.env;
// The provider's own, RS256: what is signed by it is wrong for nothing but what it says.
const signingKey = createPrivateKey(readFileSync(process.env.SIGNING_KEY));
const person = new Person(`rosa-${manner}`, ISSUER);

const signIn = (clientId, clientSecret, scope) => signInFor(person, clientId, clientSecret, scope);

const tokens = await signIn(CLIENT_ID, CLIENT_SECRET, "openid profile");
const { sub } = tokens.claims();
assert.deepEqual(await call(tokens.access_token), { status: 200, challenge: null, body: { sub, client_id: CLIENT_ID } });

const none = await call(undefined);
assert.deepEqual([none.status, none.challenge], [401, "Bearer"], "no token, no error code (RFC 6750 section 3.1)");

const elsewhere = await signIn(OTHER_CLIENT_ID, OTHER_CLIENT_SECRET, "openid profile");
const [header, payload, signature] = tokens.access_token.split(".");
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
function token(changedHeader, changedClaims, key = signingKey) {
  const text = `${encoded({ ...decoded(header), ...changedHeader })}.${encoded({ ...decoded(payload), ...changedClaims })}`;
  return `${text}.${key === null ? "" : sign("RSA-SHA256", Buffer.from(text), key).toString("base64url")}`;
}
assert.equal(decoded(header).alg, "RS256");
assert.equal((await call(token({}, {}))).status, 200, "what is changed below is what is wrong");

const now = Math.floor(Date.now() / 1000);
const anotherKey = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const session = person.cookie("auth_access");
assert.equal(decoded(session.split(".")[0]).typ, "session+jwt");
const refused = {
  "an ID token": tokens.id_token,
  "an access token for another audience": elsewhere.access_token,
  "other claims under the same signature": `${header}.${encoded({ ...decoded(payload), sub: "somebody else" })}.${signature}`,
  "a refresh token": tokens.refresh_token,
  "the access cookie of the provider's session": session,
  "a session's type": token({ typ: "session+jwt" }, {}),
  "no type": token({ typ: undefined }, {}),
  "a token that has run out": token({}, { iat: now - 1000, exp: now - 100 }),
  "a token that never runs out": token({}, { exp: undefined }),
  "another issuer": token({}, { iss: `${ISSUER}/` }),
  "no signature": token({ alg: "none" }, {}, null),
  "another key's signature": token({}, {}, anotherKey),
  "a key that is in no list": token({ kid: "unknown" }, {}, anotherKey),
  "a key in the token itself": token({ kid: undefined, jwk: createPublicKey(anotherKey).export({ format: "jwk" }) }, {}, anotherKey),
};
for (const [what, token] of Object.entries(refused)) {
  const { status, challenge } = await call(token);
  assert.equal(status, 401, what);
  assert.match(challenge, /^Bearer error="invalid_token"/, what);
}

const narrow = await call((await signIn(CLIENT_ID, CLIENT_SECRET, "openid")).access_token);
assert.equal(narrow.status, 403);
assert.match(narrow.challenge, /^Bearer error="insufficient_scope"/);

// A signature says nothing of what happened since.
assert.equal((await call(tokens.access_token)).status, 200);
await person.signOutAtProvider();
assert.equal((await call(tokens.access_token)).status, manner === "introspection" ? 401 : 200);
