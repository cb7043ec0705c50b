// The example of an app that believes the access cookie, shown that and other things. `dev` gives it to `localhost`, whatever the
// port.
import { strict as assert } from "node:assert";
import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { shown } from "../app.mjs";
import { Person } from "../person.mjs";
import { decoded, signInFor } from "../resource_server/tokens.mjs";

const { BASE_URL, CLIENT_ID, CLIENT_SECRET, ISSUER } = process.env;
const signingKey = createPrivateKey(readFileSync(process.env.SIGNING_KEY));
const person = new Person("simone", ISSUER);

const before = await person.open(`${BASE_URL}/`);
assert.equal(shown(before, "username"), null);
const signIn = /id="sign-in" href="([^"]+)"/.exec(before.text)[1];
assert.ok(signIn.startsWith(`${ISSUER}/auth/simulated?return_to=`), signIn);

const tokens = await signInFor(person, CLIENT_ID, CLIENT_SECRET, "openid profile");
const page = await person.open(`${BASE_URL}/`);
assert.equal(shown(page, "username"), "simone", page.text);

async function call(value) {
  const answer = await fetch(`${BASE_URL}/api/me`, { headers: { cookie: `other=1; auth_access=${value}` } });
  return { status: answer.status, ...(await answer.json()) };
}

const cookie = person.cookie("auth_access");
const { sub } = tokens.claims();
assert.deepEqual(await call(cookie), { status: 200, sub, username: "simone", role: "user" });

const [header, payload, signature] = cookie.split(".");
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
function token(changedHeader, changedClaims, key = signingKey) {
  const claims = { ...decoded(payload), ...changedClaims };
  const text = `${encoded({ ...decoded(header), alg: "RS256", ...changedHeader })}.${encoded(claims)}`;
  return `${text}.${key === null ? "" : sign("RSA-SHA256", Buffer.from(text), key).toString("base64url")}`;
}
assert.equal((await call(token({}, {}))).status, 200, "what is changed below is what is wrong");

const now = Math.floor(Date.now() / 1000);
for (const [what, value] of Object.entries({
  "nothing": "",
  "an access token": tokens.access_token,
  "an ID token": tokens.id_token,
  "an access token's type": token({ typ: "at+jwt" }, {}),
  "another role under the same signature": `${header}.${encoded({ ...decoded(payload), role: "admin" })}.${signature}`,
  "what has run out": token({}, { iat: now - 1000, exp: now - 100 }),
  "another audience": token({}, { aud: `${ISSUER}/oauth/userinfo` }),
  "another issuer": token({}, { iss: "https://example.com" }),
  "no signature": token({ alg: "none" }, {}, null),
  "another key's signature": token({}, {}, generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey),
})) {
  assert.equal((await call(value)).status, 401, what);
}

await person.signOutAtProvider();
assert.equal(shown(await person.open(`${BASE_URL}/`), "username"), null, "the cookie went with the session");
assert.equal((await call(cookie)).status, 200, "who kept it is believed until it runs out");
