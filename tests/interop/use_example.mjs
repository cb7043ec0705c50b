// One of the examples that have a server: node use_example.mjs NAME
import { strict as assert } from "node:assert";
import { assertSignedIn, shown, useApp } from "./app.mjs";
import { Person } from "./person.mjs";

const { BASE_URL, ISSUER } = process.env;
const [name] = process.argv.slice(2);

await useApp(name);

// One person in two browsers has two sessions: what one does with its tokens does not touch the other's.
const [here, there] = [new Person(name, ISSUER), new Person(name, ISSUER)];
const refresh = (person) => person.open(`${BASE_URL}/refresh`, { method: "POST" });
for (const person of [here, there]) assertSignedIn(await person.open(`${BASE_URL}/login`), name);
for (const person of [here, there]) assert.equal(shown(await refresh(person), "refreshes"), "1");
assert.equal(shown(await here.open(`${BASE_URL}/logout`, { method: "POST" }), "username"), null);
const stays = await refresh(there);
assertSignedIn(stays, name);
assert.equal(shown(stays, "refreshes"), "2");
assertSignedIn(await there.open(`${BASE_URL}/`), name);
here.actions.length = 0;
assertSignedIn(await here.open(`${BASE_URL}/login`), name);
assert.deepEqual(here.actions, ["login"], "the sign-out was of the browser's own session");

// Who lets the app in to nothing, and who brings an answer that this browser never asked for, is told so and signed in nowhere.
const refusing = new Person(`${name}-no`, ISSUER);
refusing.approves = false;
const other = new Person(`${name}-other`, ISSUER);
for (const [person, start] of [
  [refusing, `${BASE_URL}/login`],
  [other, `${BASE_URL}/callback?${new URLSearchParams({ code: "code", state: "state", iss: ISSUER })}`],
]) {
  const page = await person.open(start);
  assert.equal(page.status, 400, page.text);
  assert.match(shown(page, "failed"), /did not work/);
  assert.equal(shown(await person.open(`${BASE_URL}/`), "username"), null);
}
