// A person behind mod_auth_openidc: node visit.mjs defaults|example
import { strict as assert } from "node:assert";
import { assertSignedIn, eventually, shown } from "../app.mjs";
import { Person } from "../person.mjs";

const { BASE_URL, ISSUER } = process.env;
const [settings] = process.argv.slice(2);
const members = `${BASE_URL}/members/`;
const callback = `${BASE_URL}/members/callback`;
const person = new Person(`paul-${settings}`, ISSUER);

assert.match((await person.open(`${BASE_URL}/`)).text, /Everybody may read this/);
const page = await person.open(members);
assert.equal(page.url, members);
assert.deepEqual(person.actions, ["login", "upstream", "welcome", "consent"]);
if (settings === "defaults") {
  // The subject at the issuer: no scope but `openid` was asked for.
  const [subject, issuer] = shown(page, "username").split("@");
  assert.match(subject, /^[0-9a-f-]{36}$/);
  assert.ok(ISSUER.endsWith(issuer), issuer);
} else {
  assertSignedIn(page, person.name);
}

const info = async () => JSON.parse((await person.send("GET", `${callback}?info=json`)).text);
const before = await info();
for (let token = before.access_token, count = 0; count < 2; count += 1) {
  const refresh = new URLSearchParams({ refresh: members, access_token: token });
  assert.equal((await person.open(`${callback}?${refresh}`)).url, members);
  const after = await info();
  assert.notEqual(after.access_token, token);
  assert.equal(after.userinfo.sub, before.userinfo.sub);
  token = after.access_token;
}

const left = await person.open(`${callback}?${new URLSearchParams({ logout: `${BASE_URL}/` })}`);
assert.match(left.text, /Everybody may read this/);
person.actions.length = 0;
assert.equal((await person.open(members)).url, members);
// The provider's session ended, too.
assert.deepEqual(person.actions, ["login"]);

// Whoever signs out at the provider is signed out here, too; others are not.
const other = new Person(`${person.name}-elsewhere`, ISSUER);
assert.equal((await other.open(members)).url, members);
await person.signOutAtProvider();
await eventually("Apache ends a session whose person signed out elsewhere", async () => {
  return (await person.send("GET", `${callback}?info=json`)).status !== 200;
});
assert.equal((await other.send("GET", `${callback}?info=json`)).status, 200);
