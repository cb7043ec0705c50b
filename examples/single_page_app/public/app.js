// Sign-in, renewal and sign-out without a server: code flow with PKCE by a public client.
import { userManager } from "./user_manager.js";

const element = (id) => document.getElementById(id);
let renewals = 0;

function show(user) {
  element("signed-out").hidden = user !== null;
  element("signed-in").hidden = user === null;
  element("username").textContent = user?.profile.preferred_username ?? "";
  element("email").textContent = user?.profile.email ?? "";
  element("renewals").textContent = renewals;
}

// Runs something that may fail, and tells the person if it does.
async function attempt(action) {
  element("message").textContent = "";
  try {
    await action();
  } catch (error) {
    element("message").textContent = `${error.error ?? error.name}: ${error.message}`;
  }
}

const onClick = (id, action) => element(id).addEventListener("click", () => attempt(action));

onClick("sign-in", () => userManager.signinRedirect());
// By the refresh token if there is one, else by a hidden frame with `prompt=none`. The library does the same by itself
// a minute before the access token runs out.
onClick("renew", async () => {
  const user = await userManager.signinSilent();
  renewals += 1;
  show(user);
});
onClick("sign-out", async () => {
  // Where the provider ends its session by redirect, that is done, too.
  if (await userManager.metadataService.getEndSessionEndpoint()) return userManager.signoutRedirect();
  await userManager.removeUser();
  show(null);
});

if (location.pathname === "/callback") {
  await attempt(() => userManager.signinRedirectCallback());
  history.replaceState(null, "", "/");
}
show(await userManager.getUser());
