// openid-client with its defaults: discovery, code with PKCE, ID token, UserInfo, refresh, revocation, sign-out.
import { strict as assert } from "node:assert";
import * as client from "openid-client";
import { Person } from "../person.mjs";

const { APP_URL, CLIENT_ID, CLIENT_SECRET, DISCOVERY_URL, ID_TOKEN_ALG, ISSUER, POST_LOGOUT_REDIRECT_URI, REDIRECT_URI, SCOPE } =
  process.env;
const isOffline = SCOPE.split(" ").includes("offline_access");
const algorithm = ID_TOKEN_ALG || "RS256";
const name = `olga-${algorithm.toLowerCase()}${isOffline ? "-offline" : ""}`;

const config = await client.discovery(new URL(DISCOVERY_URL), CLIENT_ID, CLIENT_SECRET, undefined, {
  execute: [client.allowInsecureRequests],
});
const person = new Person(name, ISSUER);

async function signIn() {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const expectedNonce = client.randomNonce();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT_URI,
    scope: SCOPE,
    state: expectedState,
    nonce: expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
  });
  const callback = await person.goTo(url.href, APP_URL);
  return client.authorizationCodeGrant(config, new URL(callback), {
    pkceCodeVerifier,
    expectedState,
    expectedNonce,
    idTokenExpected: true,
  });
}

const tokens = await signIn();
assert.deepEqual(person.actions, ["login", "upstream", "welcome", "consent"]);
assert.equal(JSON.parse(Buffer.from(tokens.id_token.split(".")[0], "base64url")).alg, algorithm);
const { sub } = tokens.claims();
const claims = await client.fetchUserInfo(config, tokens.access_token, sub);
assert.equal(claims.preferred_username, name);
assert.match(claims.email, /@/);

let refreshToken = tokens.refresh_token;
// Twice, because the second refresh needs what the first one brought.
for (let count = 0; count < 2; count += 1) {
  const refreshed = await client.refreshTokenGrant(config, refreshToken);
  assert.notEqual(refreshed.access_token, tokens.access_token);
  assert.notEqual(refreshed.refresh_token, refreshToken);
  assert.equal((await client.fetchUserInfo(config, refreshed.access_token, sub)).sub, sub);
  refreshToken = refreshed.refresh_token;
}

const state = client.randomState();
const left = client.buildEndSessionUrl(config, {
  id_token_hint: tokens.id_token,
  post_logout_redirect_uri: POST_LOGOUT_REDIRECT_URI,
  state,
});
assert.equal(await person.goTo(left.href, APP_URL), `${POST_LOGOUT_REDIRECT_URI}?state=${state}`);
assert.deepEqual(person.actions, [], "nobody is asked");
// The tokens end with the session, but for those of `offline_access`, which end when they are revoked.
if (isOffline) {
  refreshToken = (await client.refreshTokenGrant(config, refreshToken)).refresh_token;
  await client.tokenRevocation(config, refreshToken);
}
await assert.rejects(client.refreshTokenGrant(config, refreshToken), { error: "invalid_grant" });

const again = await signIn();
assert.deepEqual(person.actions, ["login"], "the provider's session ended, too");
await client.tokenRevocation(config, again.refresh_token);
await assert.rejects(client.refreshTokenGrant(config, again.refresh_token), { error: "invalid_grant" });
