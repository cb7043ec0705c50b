// An Express app that people sign in to by OpenID Connect: code flow with PKCE, refresh, sign-out.
import express from "express";
import session from "express-session";
import * as client from "openid-client";

const { ISSUER, CLIENT_ID, CLIENT_SECRET, BASE_URL = "http://localhost:3000" } = process.env;
const { SESSION_SECRET = "only for development" } = process.env;

// Plain http is for development alone; openid-client refuses it otherwise.
const isDevelopment = ISSUER.startsWith("http://localhost:");
const provider = await client.discovery(new URL(ISSUER), CLIENT_ID, CLIENT_SECRET, undefined, {
  execute: isDevelopment ? [client.allowInsecureRequests] : [],
});
const redirectUri = `${BASE_URL}/callback`;

const app = express();
if (BASE_URL.startsWith("https:")) app.set("trust proxy", 1);
app.use(
  session({
    secret: SESSION_SECRET,
    resave: false,
    saveUninitialized: false,
    // Lax, because the provider's redirect back to /callback has to bring this cookie along.
    cookie: { httpOnly: true, sameSite: "lax", secure: BASE_URL.startsWith("https:") },
  }),
);

app.get("/", (request, response) => {
  const { person, refreshes } = request.session;
  if (!person) return response.send(page('<p><a id="sign-in" href="/login">Sign in</a></p>'));
  response.send(
    page(`<p>Hello, <b id="username">${escape(person.preferred_username)}</b> (<span id="email">${escape(person.email)}</span>).</p>
      <form method="post" action="/refresh"><button>Refresh</button> <span id="refreshes">${refreshes}</span></form>
      <form method="post" action="/logout"><button>Sign out</button></form>`),
  );
});

app.get("/login", async (request, response) => {
  const pending = {
    state: client.randomState(),
    nonce: client.randomNonce(),
    codeVerifier: client.randomPKCECodeVerifier(),
  };
  // Kept on the server until the person comes back, so that an answer to another browser's request is refused.
  request.session.pending = pending;
  const url = client.buildAuthorizationUrl(provider, {
    redirect_uri: redirectUri,
    scope: "openid profile email",
    state: pending.state,
    nonce: pending.nonce,
    code_challenge: await client.calculatePKCECodeChallenge(pending.codeVerifier),
    code_challenge_method: "S256",
  });
  response.redirect(url.href);
});

app.get("/callback", async (request, response) => {
  const { pending } = request.session;
  if (!pending) throw new Error("this sign-in was not started here");
  const tokens = await client.authorizationCodeGrant(provider, new URL(request.originalUrl, BASE_URL), {
    expectedState: pending.state,
    expectedNonce: pending.nonce,
    pkceCodeVerifier: pending.codeVerifier,
    idTokenExpected: true,
  });
  const person = await client.fetchUserInfo(provider, tokens.access_token, tokens.claims().sub);
  // A new session id, so that one that somebody knew before the sign-in is worth nothing after it.
  await new Promise((resolve, reject) => request.session.regenerate((error) => (error ? reject(error) : resolve())));
  Object.assign(request.session, {
    person,
    idToken: tokens.id_token,
    refreshToken: tokens.refresh_token,
    refreshes: 0,
  });
  response.redirect("/");
});

app.post("/refresh", async (request, response) => {
  const { person, refreshToken } = request.session;
  if (!refreshToken) return response.redirect("/");
  const tokens = await client.refreshTokenGrant(provider, refreshToken);
  // Each refresh token is good once, so this one is kept before anything else can fail.
  request.session.refreshToken = tokens.refresh_token;
  request.session.person = await client.fetchUserInfo(provider, tokens.access_token, person.sub);
  request.session.refreshes += 1;
  response.redirect("/");
});

app.post("/logout", (request, response) => {
  const { idToken } = request.session;
  request.session.destroy(() => {
    // Ends the session at the provider, too, where it offers that.
    if (!idToken || !provider.serverMetadata().end_session_endpoint) return response.redirect("/");
    const url = client.buildEndSessionUrl(provider, { id_token_hint: idToken, post_logout_redirect_uri: `${BASE_URL}/` });
    response.redirect(url.href);
  });
});

// A refused sign-in, an answer to nobody's question, a refresh token that has ended: the person may begin again.
app.use((error, request, response, next) => {
  console.error(error);
  response.status(400).send(page('<p id="failed">That did not work. <a href="/">Begin again</a></p>'));
});

const page = (body) => `<!doctype html><html lang="en"><title>Example</title><h1>Example</h1>${body}</html>`;

function escape(text = "") {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

app.listen(Number(new URL(BASE_URL).port), "127.0.0.1", () => console.log(`open ${BASE_URL}/`));
