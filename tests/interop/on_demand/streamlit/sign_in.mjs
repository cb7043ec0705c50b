// A person at a Streamlit app, in headless Chromium, since it shows nothing without script.
import { strict as assert } from "node:assert";
import { launch, signInAtProvider } from "../../chromium.mjs";

const { BASE_URL } = process.env;
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

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("Nobody is signed in.").waitFor();
  assert.ok(page.url().startsWith(`${BASE_URL}/`));
  // It asks for `prompt=select_account` each time, which leads to the upstream.
  assert.equal(await signIn(), true);
} finally {
  await browser.close();
}
