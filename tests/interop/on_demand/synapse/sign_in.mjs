// A Matrix client's sign-in at Synapse: by the provider to a login token, and by that to an access token.
import { strict as assert } from "node:assert";
import { eventually } from "../../app.mjs";
import { Person } from "../../person.mjs";

const { BASE_URL, ISSUER } = process.env;
const matrix = `${BASE_URL}/_matrix/client/v3`;
const element = `${BASE_URL}/element`;

async function call(method, path, value, token) {
  const response = await fetch(matrix + path, {
    method,
    headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
    body: value === undefined ? undefined : JSON.stringify(value),
  });
  return { status: response.status, ...(await response.json()) };
}

const { flows } = await call("GET", "/login");
assert.deepEqual(flows.find((flow) => flow.type === "m.login.sso")?.identity_providers?.map(({ id }) => id), ["oidc-provider"]);

const person = new Person("matilda", ISSUER);
async function signIn() {
  const start = `${matrix}/login/sso/redirect/oidc-provider?${new URLSearchParams({ redirectUrl: element })}`;
  const end = await person.open(start, { isEnd: (url) => url.startsWith(`${element}?`) });
  const token = new URL(end.url).searchParams.get("loginToken");
  assert.ok(token, `${end.url} ${end.text}`);
  return call("POST", "/login", { type: "m.login.token", token });
}

const first = await signIn();
assert.equal(first.user_id, "@matilda:localhost", JSON.stringify(first));
assert.deepEqual(person.actions, ["login", "upstream", "welcome", "consent"]);
const { threepids } = await call("GET", "/account/3pid", undefined, first.access_token);
assert.match(threepids.find(({ medium }) => medium === "email")?.address ?? "", /@/);

assert.equal((await call("POST", "/logout", {}, first.access_token)).status, 200);
assert.equal((await call("GET", "/account/whoami", undefined, first.access_token)).status, 401);
// The sign-out is Synapse's alone; the same person is the same user when they come back.
person.actions.length = 0;
const again = await signIn();
assert.equal(again.user_id, "@matilda:localhost");
assert.deepEqual(person.actions, []);

const whoAmI = async () => (await call("GET", "/account/whoami", undefined, again.access_token)).status;
assert.equal(await whoAmI(), 200);
await person.signOutAtProvider();
await eventually("Synapse ends a session whose person signed out elsewhere", async () => (await whoAmI()) === 401);
