// express-openid-connect. Untouched it asks for the implicit flow, which nobody should offer any more.
import express from "express";
import eoc from "express-openid-connect";
import session from "express-session";
import { home, port } from "./pages.mjs";

const { ISSUER, CLIENT_ID, CLIENT_SECRET, BASE_URL } = process.env;
const refreshes = new Map();

// Which sessions have ended, until their cookies would have. A deployment with several processes keeps it in Redis, or in
// whatever store express-session has.
const ended = new session.MemoryStore();

const app = express();
app.use(
  eoc.auth({
    issuerBaseURL: ISSUER,
    baseURL: BASE_URL,
    clientID: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    secret: "interop interop interop interop ",
    authRequired: false,
    authorizationParams: { response_type: "code" },
    idpLogout: true,
    // Answers at /backchannel-logout.
    backchannelLogout: { store: ended },
    routes: { postLogoutRedirect: BASE_URL + "/" },
  }),
);
app.get("/", async (request, response) => {
  if (!request.oidc.isAuthenticated()) return response.send(home(null));
  response.send(home(await request.oidc.fetchUserInfo(), refreshes.get(request.oidc.user.sub)));
});
app.post("/refresh", async (request, response) => {
  await request.oidc.accessToken.refresh();
  await request.oidc.fetchUserInfo();
  refreshes.set(request.oidc.user.sub, (refreshes.get(request.oidc.user.sub) ?? 0) + 1);
  response.redirect("/");
});
app.post("/logout", (request, response) => response.oidc.logout());
app.listen(port, "127.0.0.1");
