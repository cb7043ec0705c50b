// What the apps show, in the form that `app.mjs` reads.
export const home = (person, refreshes = 0) =>
  person
    ? `<b id="username">${person.preferred_username}</b> <i id="email">${person.email}</i> <i id="refreshes">${refreshes}</i>`
    : '<a href="/login">Sign in</a>';

export const port = Number(new URL(process.env.BASE_URL).port);

// A refresh by hand, for libraries that leave it to the app, and UserInfo with what came of it.
export async function refresh(refreshToken) {
  const { ISSUER, CLIENT_ID, CLIENT_SECRET } = process.env;
  const body = new URLSearchParams({
    grant_type: "refresh_token",
    refresh_token: refreshToken,
    client_id: CLIENT_ID,
    client_secret: CLIENT_SECRET,
  });
  const tokens = await (await fetch(`${ISSUER}/oauth/token`, { method: "POST", body })).json();
  const answer = await fetch(`${ISSUER}/oauth/userinfo`, { headers: { authorization: `Bearer ${tokens.access_token}` } });
  if (!answer.ok) throw new Error(`UserInfo answers ${answer.status}`);
  return { person: await answer.json(), refreshToken: tokens.refresh_token };
}
