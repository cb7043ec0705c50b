// Auth.js and next-auth alike: signing in and out are forms with a token against forged requests.
//   node use_authjs.mjs NAME PATH-OF-THEIR-ROUTES
import { strict as assert } from "node:assert";
import { useApp } from "../app.mjs";

const { BASE_URL } = process.env;
const [name, path] = process.argv.slice(2);

async function submit(person, action) {
  const { csrfToken } = JSON.parse((await person.send("GET", `${BASE_URL}${path}/csrf`)).text);
  assert.equal(typeof csrfToken, "string");
  return person.open(`${BASE_URL}${path}/${action}`, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded", origin: BASE_URL },
    body: new URLSearchParams({ csrfToken, callbackUrl: `${BASE_URL}/` }).toString(),
  });
}

await useApp(name, {
  login: (person) => submit(person, "signin/provider"),
  logout: (person) => submit(person, "signout"),
  // They have no RP-initiated logout.
  isOwnSignOut: true,
});
