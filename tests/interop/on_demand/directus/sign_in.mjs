// A person signs in at Directus and has their session renewed, for which Directus uses its refresh token; the administrator
// sees the person that Directus made.
import { strict as assert } from "node:assert";
import { refreshTokensIssued } from "../../metrics.mjs";
import { Person } from "../../person.mjs";

const { ADMIN_EMAIL, ADMIN_PASSWORD, BASE_URL, ISSUER } = process.env;

async function call(method, path, value, token) {
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  const response = await fetch(BASE_URL + path, { method, headers, body: value && JSON.stringify(value) });
  assert.equal(response.status, 200, `${path}: ${await response.clone().text()}`);
  return (await response.json()).data;
}

// Directus takes no address below `.test`, which is what people have here who do not type one in.
const email = "dora@example.com";
const person = new Person(email, ISSUER);
const ping = `${BASE_URL}/server/ping`;
const start = `${BASE_URL}/auth/login/provider?${new URLSearchParams({ redirect: ping })}`;
const end = await person.open(start);
assert.equal(end.url, ping, end.text);
assert.deepEqual(person.actions, ["login", "upstream", "welcome", "consent"]);

const me = async () => JSON.parse((await person.send("GET", `${BASE_URL}/users/me?fields=id`)).text).data?.id;
const id = await me();
assert.ok(id, "the cookie is a session's");
const { access_token } = await call("POST", "/auth/login", { email: ADMIN_EMAIL, password: ADMIN_PASSWORD });
const known = await call("GET", `/users/${id}?fields=email,provider,external_identifier`, undefined, access_token);
assert.equal(known.provider, "provider");
assert.equal(known.email, email);
assert.match(known.external_identifier, /^[0-9a-f-]{36}$/, "the subject");

// Twice, because the second needs the refresh token that the first brought. Directus would renew its own session without one,
// too, so it is counted at the provider.
for (let count = 0; count < 2; count += 1) {
  const before = await refreshTokensIssued();
  const body = JSON.stringify({ mode: "session" });
  const renewed = await person.send("POST", `${BASE_URL}/auth/refresh`, { "content-type": "application/json" }, body);
  assert.equal(renewed.status, 200, renewed.text);
  assert.equal(await refreshTokensIssued(), before + 1, "a renewal uses a refresh token");
}
assert.equal(await me(), id);

const body = JSON.stringify({ mode: "session" });
const left = await person.send("POST", `${BASE_URL}/auth/logout`, { "content-type": "application/json" }, body);
assert.equal(left.status, 204, left.text);
assert.equal(await me(), undefined);
person.actions.length = 0;
assert.equal((await person.open(start)).url, ping);
assert.deepEqual(person.actions, []);
assert.equal(await me(), id);
