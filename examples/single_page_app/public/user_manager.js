import { UserManager, WebStorageStateStore } from "oidc-client-ts";

const settings = await (await fetch("/settings.json")).json();

export const userManager = new UserManager({
  ...settings,
  redirect_uri: `${location.origin}/callback`,
  silent_redirect_uri: `${location.origin}/silent`,
  post_logout_redirect_uri: `${location.origin}/`,
  scope: "openid profile email",
  // The name and address are UserInfo's, not the ID token's.
  loadUserInfo: true,
  // Tokens end with the tab. Script of somebody else's on this page could read them: keep such script out.
  userStore: new WebStorageStateStore({ store: sessionStorage }),
});
