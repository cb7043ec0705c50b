// The example resource server believes a new signing key when it meets it, and the one that was dropped no more.
import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { setTimeout as wait } from "node:timers/promises";
import { Person } from "../person.mjs";
import { call, keyId, signInFor } from "./tokens.mjs";

const { CLIENT_ID, CLIENT_SECRET, FIRST_ISSUER, ROTATE } = process.env;
const person = new Person("rosalind", FIRST_ISSUER);
const signIn = async () => (await signInFor(person, CLIENT_ID, CLIENT_SECRET, "openid profile")).access_token;

const before = await signIn();
assert.equal((await call(before)).status, 200);

execFileSync("bash", ["-c", ROTATE], { stdio: ["ignore", "ignore", "inherit"] });
let after = before;
for (let tries = 0; keyId(after) === keyId(before); tries += 1) {
  assert.ok(tries < 100, "the provider took no other key over");
  await wait(100);
  after = await signIn();
}
// It does not ask for the list again within half a minute, whatever it is shown.
assert.equal((await call(after)).status, 401);
await fetch(`${process.env.BASE_URL}/later`);
assert.equal((await call(after)).status, 200, "a key that it did not know, and finds in the list");
assert.equal((await call(before)).status, 401, "a key that is in the list no more");
