// One of the examples that have a server: node use_example.mjs NAME
import { strict as assert } from "node:assert";
import { shown, useApp } from "./app.mjs";
import { Person } from "./person.mjs";

const { BASE_URL, ISSUER } = process.env;
const [name] = process.argv.slice(2);

await useApp(name);

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
