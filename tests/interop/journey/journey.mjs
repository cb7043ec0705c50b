// A person's way through `riley-auth dev`, in a real browser: from the demo app's button to a sign-out that holds.
//
//   DEMO_APP_URL     http://localhost:8082   where `dev` says to begin
//   UPSTREAM_URL     http://127.0.0.1:8083   the simulated upstream
//   FRONT_END_URL    http://localhost:8084   the pages on the JSON API
//   ISSUER           http://localhost:8081
//   CHROMIUM         /usr/bin/chromium
//   SCREENSHOTS      a directory for a picture of every page where a step ends; none if unset
//
// Each step ends in what a person would see, and fails with a picture's worth of text. Exit code 0: all held.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import http from "node:http";
import { chromium } from "playwright-core";

const demoApp = process.env.DEMO_APP_URL ?? "http://localhost:8082";
const upstream = process.env.UPSTREAM_URL ?? "http://127.0.0.1:8083";
const frontEnd = process.env.FRONT_END_URL ?? "http://localhost:8084";
const issuer = process.env.ISSUER ?? "http://localhost:8081";
const screenshots = process.env.SCREENSHOTS;
if (screenshots) mkdirSync(screenshots, { recursive: true });

// A person nobody has seen before, so that the journey can be repeated on the same database.
const person = "ada" + Date.now().toString(36);
const username = person;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

const complaints = [];
let steps = 0;

async function open() {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.message}`));
  page.on("console", (message) => {
    // A refusal of the API (401 before the sign-in) is logged by the browser itself and is no fault of the page.
    const isRefusal = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !isRefusal) complaints.push(`${page.url()}: ${message.text()}`);
  });
  return page;
}

async function step(page, name, action) {
  steps += 1;
  try {
    await action();
  } catch (error) {
    const text = await page.locator("body").innerText().catch(() => "(no page)");
    console.error(`not ok ${steps} - ${name}\nat ${page.url()}\n${text}\n`);
    throw error;
  }
  // People never meet the product's name: the pages are the deployer's.
  assert.doesNotMatch(await page.locator("body").innerText(), /riley/i);
  if (screenshots) {
    const file = `${screenshots}/${String(steps).padStart(2, "0")}-${name.replaceAll(/[^a-z0-9]+/gi, "-")}.png`;
    await page.screenshot({ path: file, fullPage: true });
  }
  console.log(`ok ${steps} - ${name}`);
}

const json = async (page, id) => JSON.parse(await page.locator(`#${id}`).innerText());
const at = (page, base, path = "") => page.waitForURL((url) => url.href.startsWith(base + path));
const isVisible = (page, id) => page.locator(`#${id}`).isVisible();

// The status of a request that says another host name than the one it was sent to, as after DNS rebinding.
function statusUnderHost(base, host) {
  return new Promise((resolve, reject) => {
    const request = http.get(base + "/", { headers: { Host: host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.on("error", reject);
  });
}

const page = await open();
let first;

try {
  await step(page, "none of the four servers answers under a foreign host name", async () => {
    for (const base of [issuer, demoApp, upstream, frontEnd]) {
      assert.equal(await statusUnderHost(base, "rebound.example:80"), 421, base);
      assert.notEqual(await statusUnderHost(base, new URL(base).host), 421, base);
    }
  });

  await step(page, "the demo app knows nobody and offers to sign in", async () => {
    await page.goto(demoApp + "/");
    assert.ok(await isVisible(page, "sign-in"));
    assert.equal(await page.locator("#id-token").count(), 0);
  });

  await step(page, "prompt=none without a session says login_required and shows no page", async () => {
    await page.click("#silent");
    await at(page, demoApp, "/callback");
    assert.match(await page.locator("#error").innerText(), /^login_required/);
  });

  await step(page, "signing in leads to the deployer's login page", async () => {
    await page.goto(demoApp + "/");
    await page.click("#sign-in");
    await at(page, frontEnd, "/login?request_id=");
    await page.locator("#provider-simulated").waitFor();
  });

  await step(page, "cancelling at the upstream ends on a page that goes on", async () => {
    await page.click("#provider-simulated");
    await at(page, upstream);
    await page.click("#cancel");
    await page.waitForURL((url) => !url.href.startsWith(upstream) && !url.href.startsWith(issuer + "/auth/"));
    // The login page with its request, or the demo app with the refusal: a page, and not a dead end.
    const isLogin = page.url().startsWith(frontEnd + "/login");
    if (isLogin) {
      await page.locator("#provider-simulated").waitFor();
    } else {
      assert.match(await page.locator("#error").innerText(), /^access_denied/);
      await page.click("#sign-in");
      await at(page, frontEnd, "/login?request_id=");
    }
  });

  await step(page, "a newcomer signs in at the upstream and is asked for a username", async () => {
    await page.click("#provider-simulated");
    await at(page, upstream);
    await page.fill("#username", person);
    await page.click("#sign-in");
    await at(page, frontEnd, "/welcome");
    await page.locator("#create-account").waitFor();
    assert.notEqual(await page.inputValue("#username"), "", "a free username is suggested");
  });

  await step(page, "a username against the rules is refused with a reason", async () => {
    await page.fill("#username", "1 and two");
    await page.click("#create-account");
    await page.waitForFunction(() => document.getElementById("message").textContent !== "");
    assert.ok(page.url().startsWith(frontEnd + "/welcome"));
  });

  await step(page, "a good username makes the account and leads to consent", async () => {
    await page.fill("#username", username);
    await page.click("#create-account");
    await at(page, frontEnd, "/consent?consent_id=");
    await page.locator("#approve").waitFor();
    assert.equal(await page.locator("#client-name").innerText(), "Demo app");
    assert.equal(await page.locator("#redirect-host").innerText(), new URL(demoApp).hostname);
    assert.ok((await page.locator("#scopes li").count()) >= 3, "the scopes are listed");
  });

  await step(page, "with consent the demo app shows checked tokens and UserInfo", async () => {
    await page.click("#approve");
    await at(page, demoApp);
    await page.locator("#id-token").waitFor();
    const idToken = await json(page, "id-token");
    const accessToken = await json(page, "access-token");
    const userinfo = await json(page, "userinfo");
    assert.equal(idToken.claims.iss, issuer);
    assert.equal(idToken.claims.aud, "demo-app");
    assert.equal(typeof idToken.claims.auth_time, "number");
    assert.equal(accessToken.header.typ, "at+jwt");
    assert.equal(accessToken.claims.sub, idToken.claims.sub);
    assert.equal(accessToken.claims.client_id, "demo-app");
    assert.notEqual(accessToken.claims.aud, issuer);
    assert.equal(userinfo.sub, idToken.claims.sub);
    assert.equal(userinfo.preferred_username, username);
    assert.equal(typeof userinfo.email, "string");
    assert.equal(userinfo.email_verified, true);
    assert.equal(idToken.claims.email, undefined, "the ID token holds no profile (OpenID Connect Core 5.4)");
    first = { idToken, accessToken };
    const cookies = await page.context().cookies(demoApp);
    assert.ok(cookies.some((cookie) => cookie.name === "demo_session"));
    assert.ok(cookies.every((cookie) => cookie.httpOnly), "no script reads a cookie");
  });

  await step(page, "a refresh gives a new access token for the same sign-in", async () => {
    await page.click("#refresh");
    await page.waitForFunction(() => document.getElementById("refreshes")?.textContent === "1");
    const { claims } = await json(page, "access-token");
    assert.notEqual(claims.jti, first.accessToken.claims.jti);
    assert.equal(claims.sub, first.idToken.claims.sub);
    assert.equal((await json(page, "id-token")).claims.auth_time, first.idToken.claims.auth_time);
  });

  await step(page, "a second refresh works, so the refresh token was rotated", async () => {
    await page.click("#refresh");
    await page.waitForFunction(() => document.getElementById("refreshes")?.textContent === "2");
  });

  await step(page, "signing in again silently shows no page and asks for no consent", async () => {
    const visited = [];
    const note = (frame) => visited.push(frame.url());
    page.on("framenavigated", note);
    await page.click("#silent");
    await page.waitForFunction(() => document.getElementById("refreshes")?.textContent === "0");
    page.off("framenavigated", note);
    const { claims } = await json(page, "id-token");
    assert.equal(claims.sub, first.idToken.claims.sub);
    assert.equal(claims.auth_time, first.idToken.claims.auth_time, "nobody signed in anew");
    const foreign = visited.filter((url) => !url.startsWith(demoApp));
    assert.deepEqual(foreign, [], "no page but the demo app's was shown");
  });

  await step(page, "prompt=login shows the upstream's sign-in again and moves auth_time", async () => {
    // auth_time counts in whole seconds.
    while (Math.floor(Date.now() / 1000) <= first.idToken.claims.auth_time) {
      await page.waitForTimeout(100);
    }
    await page.click("#sign-in-again");
    await at(page, frontEnd, "/login?request_id=");
    await page.click("#provider-simulated");
    await at(page, upstream);
    await page.locator("#sign-in").waitFor();
    await page.fill("#username", person);
    await page.click("#sign-in");
    await at(page, demoApp);
    await page.locator("#id-token").waitFor();
    const { claims } = await json(page, "id-token");
    assert.equal(claims.sub, first.idToken.claims.sub);
    assert.ok(claims.auth_time > first.idToken.claims.auth_time, "auth_time is that of the new sign-in");
  });

  await step(page, "the account page knows the person", async () => {
    await page.goto(frontEnd + "/account");
    await page.locator("#sign-out").waitFor();
    assert.equal(await page.locator("#username").innerText(), username);
  });

  await step(page, "signing out at the demo app ends at both", async () => {
    await page.goto(demoApp + "/");
    await page.click("#sign-out");
    await page.waitForURL((url) => !url.href.startsWith(demoApp + "/sign-out"));
    if (page.url().startsWith(frontEnd)) {
      // The provider has no end_session_endpoint: its own session is ended on its signed-out page.
      await page.locator("#sign-out").waitFor();
      await page.click("#sign-out");
      await page.waitForFunction(() => document.getElementById("message").textContent !== "");
      assert.equal(await page.locator("#message").innerText(), "You are signed out.");
      assert.equal(await isVisible(page, "sign-out"), false);
    }
    await page.goto(demoApp + "/");
    assert.ok(await isVisible(page, "sign-in"));
    assert.equal(await page.locator("#id-token").count(), 0);
  });

  await step(page, "the sign-out holds: prompt=none gives login_required", async () => {
    await page.click("#silent");
    await at(page, demoApp, "/callback");
    assert.match(await page.locator("#error").innerText(), /^login_required/);
  });

  await step(page, "signing in once more asks for no username and no consent", async () => {
    await page.goto(demoApp + "/");
    await page.click("#sign-in");
    await at(page, frontEnd, "/login?request_id=");
    await page.click("#provider-simulated");
    await page.waitForURL((url) => url.href.startsWith(upstream) || url.href.startsWith(demoApp));
    if (page.url().startsWith(upstream)) {
      await page.fill("#username", person);
      await page.click("#sign-in");
    }
    await at(page, demoApp);
    await page.locator("#id-token").waitFor();
    assert.equal((await json(page, "id-token")).claims.sub, first.idToken.claims.sub);
  });

  const other = await open();
  await step(other, "another person who refuses consent is told so by the demo app", async () => {
    await other.goto(demoApp + "/");
    await other.click("#sign-in");
    await other.click("#provider-simulated");
    await at(other, upstream);
    await other.fill("#username", person + "b");
    await other.click("#sign-in");
    await at(other, frontEnd, "/welcome");
    await other.locator("#create-account").waitFor();
    await other.fill("#username", username + "b");
    await other.click("#create-account");
    await at(other, frontEnd, "/consent?consent_id=");
    await other.locator("#deny").waitFor();
    await other.click("#deny");
    await at(other, demoApp);
    assert.match(await other.locator("#error").innerText(), /^access_denied/);
    assert.equal(await other.locator("#id-token").count(), 0);
  });

  const third = await open();
  await step(third, "what the upstream knows beyond the account is passed on in UserInfo", async () => {
    await third.goto(demoApp + "/");
    await third.click("#sign-in");
    await third.click("#provider-simulated");
    await at(third, upstream);
    await third.click("#person-ada");
    // On a database that has seen this journey before, the account and the consent are there already.
    await third.locator("#id-token, #create-account, #approve").first().waitFor();
    if (await isVisible(third, "create-account")) {
      await third.click("#create-account");
      await third.locator("#id-token, #approve").first().waitFor();
    }
    if (await isVisible(third, "approve")) await third.click("#approve");
    await third.locator("#id-token").waitFor();
    const userinfo = await json(third, "userinfo");
    for (const claim of ["name", "given_name", "family_name", "middle_name", "nickname", "preferred_username",
      "profile", "website", "gender", "birthdate", "zoneinfo", "locale", "email", "phone_number"]) {
      assert.equal(typeof userinfo[claim], "string", claim);
    }
    assert.equal(typeof userinfo.updated_at, "number");
    assert.equal(typeof userinfo.phone_number_verified, "boolean");
    assert.equal(typeof userinfo.address.country, "string");
  });

  await step(third, "the browser complained about nothing (scripts, content security policy)", async () => {
    assert.deepEqual(complaints, []);
  });
  console.log(`1..${steps}`);
} catch (error) {
  console.error(error);
  if (complaints.length > 0) console.error("The browser complained:", complaints);
  process.exitCode = 1;
} finally {
  await browser.close();
}
