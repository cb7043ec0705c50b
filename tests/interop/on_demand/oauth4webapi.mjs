// oauth4webapi: every step by hand, each with its checks. Discovery, code with PKCE, ID token with its signature, UserInfo,
// refresh, introspection, revocation. It knows no sign-out.
import { strict as assert } from "node:assert";
import * as oauth from "oauth4webapi";
import { Person } from "../person.mjs";

const { APP_URL, ISSUER, CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, SCOPE } = process.env;
const insecure = { [oauth.allowInsecureRequests]: true };

const issuer = new URL(ISSUER);
const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
const client = { client_id: CLIENT_ID };

for (const [method, authentication] of Object.entries({
  client_secret_basic: oauth.ClientSecretBasic(CLIENT_SECRET),
  client_secret_post: oauth.ClientSecretPost(CLIENT_SECRET),
})) {
  const [verifier, state, nonce] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState(), oauth.generateRandomNonce()];
  const url = new URL(server.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: CLIENT_ID,
    redirect_uri: REDIRECT_URI,
    response_type: "code",
    scope: SCOPE,
    state,
    nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  });
  const person = new Person(`olaf-${method.slice(-5).replace("_", "")}`, ISSUER);
  const callback = await person.goTo(url.href, APP_URL);

  // Checks `iss` too, since discovery says that it comes (RFC 9207).
  const parameters = oauth.validateAuthResponse(server, client, new URL(callback), state);
  const answer = await oauth.authorizationCodeGrantRequest(
    server, client, authentication, parameters, REDIRECT_URI, verifier, insecure);
  const tokens = await oauth.processAuthorizationCodeResponse(server, client, answer, { expectedNonce: nonce, requireIdToken: true });
  await oauth.validateApplicationLevelSignature(server, answer, insecure);
  const { sub } = oauth.getValidatedIdTokenClaims(tokens);

  const userInfo = async (token) =>
    oauth.processUserInfoResponse(server, client, sub, await oauth.userInfoRequest(server, client, token, insecure));
  assert.match((await userInfo(tokens.access_token)).preferred_username, /^olaf-/);

  const refreshed = await oauth.processRefreshTokenResponse(
    server, client, await oauth.refreshTokenGrantRequest(server, client, authentication, tokens.refresh_token, insecure));
  assert.notEqual(refreshed.access_token, tokens.access_token);
  assert.equal((await userInfo(refreshed.access_token)).sub, sub);

  const introspect = async (token) =>
    oauth.processIntrospectionResponse(
      server, client, await oauth.introspectionRequest(server, client, authentication, token, insecure));
  assert.equal((await introspect(refreshed.access_token)).active, true);
  await oauth.processRevocationResponse(
    await oauth.revocationRequest(server, client, authentication, refreshed.refresh_token, insecure));
  assert.equal((await introspect(refreshed.access_token)).active, false);
}
