// A person uses an app that runs: signs in, has the tokens refreshed, signs out, comes back.
//
// The app has these routes, as those of `examples/` have: `GET /` shows `id="username"` and `id="email"` of who is
// signed in, and a link to sign in otherwise; `GET /login` signs in; `POST /refresh` uses the refresh token, calls UserInfo
// with the new access token, and counts in `id="refreshes"`; `POST /logout`. What an app has not, its options say, and what it
// has beyond that: `hearsLogouts`.
import { strict as assert } from "node:assert";
import { setTimeout as wait } from "node:timers/promises";
import { Person } from "./person.mjs";

const { BASE_URL, ISSUER } = process.env;

export async function useApp(
  name,
  { login = openLogin, logout = postLogout, offersRefresh = true, isOwnSignOut = false, hearsLogouts = false } = {},
) {
  const person = new Person(name, ISSUER);
  const home = await person.open(`${BASE_URL}/`);
  assert.equal(home.status, 200, home.text);
  assert.equal(shown(home, "username"), null, "nobody is signed in yet");

  const page = await login(person);
  assertSignedIn(page, name);
  assert.deepEqual(without(person.actions, "form_post"), ["login", "upstream", "welcome", "consent"]);

  if (offersRefresh) {
    // Twice, because the second refresh needs what the first one brought.
    for (const count of ["1", "2"]) {
      const refreshed = await person.open(`${BASE_URL}/refresh`, { method: "POST" });
      assertSignedIn(refreshed, name);
      assert.equal(shown(refreshed, "refreshes"), count, refreshed.text);
    }
  }

  const left = await logout(person);
  assert.equal(left.status, 200, left.text);
  assert.equal(new URL(left.url).origin, BASE_URL, "the sign-out ends at the app");
  assert.equal(shown(await person.open(`${BASE_URL}/`), "username"), null, "nobody is signed in any more");

  person.actions.length = 0;
  assertSignedIn(await login(person), name);
  const asked = without(person.actions, "form_post");
  // A sign-out that ended the provider's session leads back to its login page (the upstream still knows the person there).
  // One that is the app's alone does not, and consent is remembered either way.
  assert.deepEqual(asked, isOwnSignOut ? [] : ["login"]);

  if (hearsLogouts) {
    const other = new Person(`${name}-elsewhere`, ISSUER);
    assertSignedIn(await login(other), other.name);
    await person.signOutAtProvider();
    await eventually("the app ends a session whose person signed out elsewhere", async () => {
      return shown(await person.open(`${BASE_URL}/`), "username") === null;
    });
    assertSignedIn(await other.open(`${BASE_URL}/`), other.name);
  }
}

// Waits for what comes by a back channel.
export async function eventually(what, isSo) {
  for (let tries = 0; tries < 100; tries += 1) {
    if (await isSo()) return;
    await wait(100);
  }
  assert.fail(`${what}: not within ten seconds`);
}

export function assertSignedIn(page, name) {
  assert.equal(page.status, 200, page.text);
  assert.equal(shown(page, "username"), name, page.text);
  assert.match(shown(page, "email") ?? "", /@/, page.text);
}

// The text of the element with this id, or null.
export function shown(page, id) {
  return new RegExp(`id="${id}"[^>]*>([^<]*)<`).exec(page.text)?.[1] ?? null;
}

const without = (list, unwanted) => list.filter((item) => item !== unwanted);
const openLogin = (person) => person.open(`${BASE_URL}/login`);
const postLogout = (person) => person.open(`${BASE_URL}/logout`, { method: "POST" });
