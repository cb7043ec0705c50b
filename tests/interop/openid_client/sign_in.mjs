// openid-client with its defaults: discovery, code with PKCE, ID token, UserInfo, refresh.
import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import * as client from "openid-client";

const { DISCOVERY_URL, CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, SCOPE, PERSON } = process.env;

const config = await client.discovery(new URL(DISCOVERY_URL), CLIENT_ID, CLIENT_SECRET, undefined, {
  execute: [client.allowInsecureRequests],
});
const pkceCodeVerifier = client.randomPKCECodeVerifier();
const expectedState = client.randomState();
const expectedNonce = client.randomNonce();
const authorizationUrl = client.buildAuthorizationUrl(config, {
  redirect_uri: REDIRECT_URI,
  scope: SCOPE,
  state: expectedState,
  nonce: expectedNonce,
  code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
  code_challenge_method: "S256",
});
const callback = execFileSync(process.execPath, [PERSON, "olga", authorizationUrl.href, REDIRECT_URI], {
  encoding: "utf8",
  stdio: ["ignore", "pipe", "inherit"],
}).trim();

const tokens = await client.authorizationCodeGrant(config, new URL(callback), {
  pkceCodeVerifier,
  expectedState,
  expectedNonce,
  idTokenExpected: true,
});
const { sub } = tokens.claims();
const person = await client.fetchUserInfo(config, tokens.access_token, sub);
assert.equal(person.preferred_username, "olga");
assert.match(person.email, /@/);

const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token);
assert.notEqual(refreshed.access_token, tokens.access_token);
assert.notEqual(refreshed.refresh_token, tokens.refresh_token);
assert.equal((await client.fetchUserInfo(config, refreshed.access_token, sub)).sub, sub);

await client.tokenRevocation(config, refreshed.refresh_token);
await assert.rejects(client.refreshTokenGrant(config, refreshed.refresh_token), { error: "invalid_grant" });
