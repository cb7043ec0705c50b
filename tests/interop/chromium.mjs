// A headless Chromium, and a person who signs in with it at the pages of `riley-auth dev`.
import { chromium } from "playwright-core";

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM,
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

// From the moment the app sent the browser away until it shows `end`. Whether the provider asked for a sign-in.
export async function signInAtProvider(page, name, end) {
  // What the pages on the way offer, in no order that is known before: an upstream that still knows the person, or a consent
  // that is remembered, is passed without a page.
  const provider = page.locator("#provider-simulated");
  // Only the upstream's form has this button.
  const cancel = page.locator("#cancel");
  const others = page.locator("#create-account").or(page.locator("#approve"));
  let asked = false;
  for (;;) {
    await provider.or(cancel).or(others).or(end).first().waitFor();
    if (await end.isVisible()) return asked;
    const before = page.url();
    if (await provider.isVisible()) {
      asked = true;
      await provider.click();
    } else if (await others.first().isVisible()) {
      await others.first().click();
    } else {
      await page.locator("#username").fill(name);
      await page.locator("#sign-in").click();
    }
    await page.waitForURL((url) => url.href !== before);
  }
}
