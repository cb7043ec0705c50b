// Tokens of a sign-in, and what the resource server makes of them.
import * as client from "openid-client";

const { APP_URL, BASE_URL, DISCOVERY_URL, REDIRECT_URI } = process.env;

export async function signInFor(person, clientId, clientSecret, scope) {
  const config = await client.discovery(new URL(DISCOVERY_URL), clientId, clientSecret, undefined, {
    execute: [client.allowInsecureRequests],
  });
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT_URI,
    scope,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
  });
  const callback = await person.goTo(url.href, APP_URL);
  return client.authorizationCodeGrant(config, new URL(callback), { pkceCodeVerifier });
}

export async function call(token) {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(`${BASE_URL}/api/me`, { headers });
  return { status: response.status, challenge: response.headers.get("www-authenticate"), body: await response.json() };
}

export const decoded = (part) => JSON.parse(Buffer.from(part, "base64url"));
export const keyId = (token) => decoded(token.split(".")[0]).kid;
