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

// From the moment the app sent the browser away until it shows `end`. Whether the upstream was needed.
export async function signInAtProvider(page, name, end) {
  const one = (selector) => page.locator(selector);
  await one("#provider-simulated").or(end).first().waitFor();
  if (await end.isVisible()) return false;
  await one("#provider-simulated").click();
  await one("#username").fill(name);
  await one("#sign-in").click();
  const [create, approve] = [one("#create-account"), one("#approve")];
  for (;;) {
    await create.or(approve).or(end).first().waitFor();
    if (await end.isVisible()) return true;
    const button = (await create.isVisible()) ? create : approve;
    await button.click();
    await button.waitFor({ state: "detached" });
  }
}
