// The example single-page app (oidc-client-ts) in headless Chromium.
//
//   node sign_in.mjs frame      no refresh token: renewed by a hidden frame, which works on the provider's site alone
//   node sign_in.mjs refresh    a refresh token: renewed across sites
//
// BASE_URL is on the provider's site (http://localhost, whatever the port) or on another (http://127.0.0.1). With https the
// provider is one that has another as its upstream and lets no origin read its answers but BASE_URL: not OTHER_ORIGIN.
import { strict as assert } from "node:assert";
import { launch, signInAtProvider } from "../chromium.mjs";

const { BASE_URL, ISSUER, OTHER_ORIGIN } = process.env;
const [renewal] = process.argv.slice(2);
const isSameSite = new URL(BASE_URL).hostname === new URL(ISSUER).hostname;
const isDeployed = new URL(ISSUER).protocol === "https:";
const name = `sofia-${renewal}-${isDeployed ? "deployed" : isSameSite ? "here" : "there"}`;

const browser = await launch();

try {
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  page.setDefaultTimeout(30_000);
  const requests = [];
  page.on("request", (request) => requests.push(request));
  const text = (id) => page.locator(`#${id}`).innerText();
  const tokens = () =>
    page.evaluate(() => {
      const key = Object.keys(sessionStorage).find((found) => found.startsWith("oidc.user:"));
      return key === undefined ? null : JSON.parse(sessionStorage.getItem(key));
    });

  // Opens the app and signs in. Whether the upstream was needed.
  async function signIn() {
    await page.goto(`${BASE_URL}/`);
    await page.click("#sign-in");
    return signInAtProvider(page, name, page.locator("#signed-in:not([hidden])"));
  }

  // An answer that nobody here asked for.
  await page.goto(`${BASE_URL}/callback?${new URLSearchParams({ code: "code", state: "state", iss: ISSUER })}`);
  await page.waitForFunction(() => document.getElementById("message").textContent !== "");
  assert.equal(await page.locator("#signed-in").isVisible(), false);

  assert.equal(await signIn(), true);
  assert.equal(await text("username"), name);
  assert.match(await text("email"), /@/);
  assert.equal(await text("message"), "");
  const first = await tokens();
  assert.equal(first.refresh_token !== undefined, renewal === "refresh");

  requests.length = 0;
  await page.click("#renew");
  const isAuthorize = (request) => request.url().startsWith(`${ISSUER}/oauth/authorize`);
  const wasInFrame = () => requests.some((request) => isAuthorize(request) && request.frame() !== page.mainFrame());
  if (renewal === "frame" && !isSameSite) {
    // Browsers send no session cookie into the frame of another site.
    await page.waitForFunction(() => document.getElementById("message").textContent !== "");
    assert.match(await text("message"), /^login_required:/);
    assert.ok(wasInFrame());
  } else {
    await page.waitForFunction(() => document.getElementById("renewals").textContent === "1");
    const second = await tokens();
    assert.notEqual(second.access_token, first.access_token);
    assert.equal(second.profile.sub, first.profile.sub);
    assert.equal(wasInFrame(), renewal === "frame");
    assert.equal(await text("username"), name);
  }
  if (renewal === "refresh") {
    // Once more, because this needs the refresh token that the first renewal brought.
    await page.click("#renew");
    await page.waitForFunction(() => document.getElementById("renewals").textContent === "2");
  }
  assert.equal(await page.locator("#signed-in").isVisible(), true);

  if (isDeployed) {
    const cookies = await page.context().cookies(ISSUER);
    const session = cookies.find(({ name }) => name === "__Host-second_refresh");
    assert.deepEqual([session?.secure, session?.httpOnly, session?.sameSite], [true, true, "Lax"]);
    // What this origin may read another may not.
    const read = (issuer) => fetch(`${issuer}/oauth/token`, { method: "POST" }).then((answer) => answer.status, String);
    assert.equal(await page.evaluate(read, ISSUER), 400, "read, and refused as a request");
    const other = await browser.newPage({ ignoreHTTPSErrors: true });
    await other.goto(`${OTHER_ORIGIN}/`);
    assert.match(String(await other.evaluate(read, ISSUER)), /Failed to fetch/);
    await other.close();
  }

  await page.click("#sign-out");
  await page.locator("#signed-out:not([hidden])").waitFor();
  assert.ok(page.url().startsWith(`${BASE_URL}/`), "the sign-out ends at the app");
  assert.equal(await tokens(), null);
  // The provider's session ended, too: it asks for a sign-in again.
  requests.length = 0;
  await signIn();
  assert.ok(requests.some((request) => request.url().startsWith(`${ISSUER}/auth/`)));
} finally {
  await browser.close();
}
