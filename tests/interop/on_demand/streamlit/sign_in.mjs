// A person at a Streamlit app, in headless Chromium, since it shows nothing without script.
import { strict as assert } from "node:assert";
import { launch, signInAtProvider } from "../../chromium.mjs";

const { BASE_URL, ISSUER } = process.env;
const browser = await launch();
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  const greeting = page.getByText("Hello, stella, ");

  async function signIn() {
    await page.getByText("Nobody is signed in.").waitFor();
    await page.getByRole("button", { name: "Sign in" }).click();
    return signInAtProvider(page, "stella", greeting);
  }

  await page.goto(`${BASE_URL}/`);
  assert.equal(await signIn(), true);
  assert.match(await greeting.innerText(), /@/);

  await page.reload();
  await greeting.waitFor();

  const signsOut = page.waitForRequest((request) => request.url().startsWith(`${ISSUER}/oauth/logout?`));
  await page.getByRole("button", { name: "Sign out" }).click();
  const sentAway = new URL((await signsOut).url()).searchParams;
  await page.getByText("Nobody is signed in.").waitFor();
  assert.ok(page.url().startsWith(`${BASE_URL}/`));
  // The sign-in that follows would not tell: Streamlit asks for `prompt=select_account` each time, which leads to the upstream.
  assert.equal(sentAway.get("post_logout_redirect_uri"), `${BASE_URL}/oauth2callback`);
  const context = page.context();
  assert.equal((await context.request.get(`${ISSUER}/auth/me`)).status(), 401, "the provider's session ended, too");
  assert.equal(await signIn(), true);
  assert.equal((await context.request.get(`${ISSUER}/auth/me`)).status(), 200);
} finally {
  await browser.close();
}
