// Auth.js (@auth/core) on a plain Node server.
import http from "node:http";
import { Auth, setEnvDefaults } from "@auth/core";
import { home, port, refresh } from "./pages.mjs";

const { ISSUER, CLIENT_ID, CLIENT_SECRET, BASE_URL } = process.env;
let refreshes = 0;

const config = {
  basePath: "/auth",
  trustHost: true,
  secret: "interop",
  providers: [{ id: "provider", name: "Provider", type: "oidc", issuer: ISSUER, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET,
    // Without this the person is made from the ID token, which holds no profile.
    idToken: false,
    profile: (claims) => ({ id: claims.sub, name: claims.preferred_username, email: claims.email }) }],
  callbacks: {
    jwt: ({ token, account }) => (account ? { ...token, refreshToken: account.refresh_token } : token),
    session: ({ session, token }) => ({ ...session, refreshToken: token.refreshToken }),
  },
};
setEnvDefaults(process.env, config);

async function auth(incoming, path = incoming.url) {
  const chunks = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const body = ["GET", "HEAD"].includes(incoming.method) || path !== incoming.url ? undefined : Buffer.concat(chunks);
  const method = body === undefined ? "GET" : incoming.method;
  return Auth(new Request(new URL(path, BASE_URL), { method, headers: incoming.headers, body }), config);
}

async function answer(incoming) {
  const { pathname } = new URL(incoming.url, BASE_URL);
  if (pathname.startsWith("/auth/")) return auth(incoming);
  const session = await (await auth(incoming, "/auth/session")).json();
  const person = session?.user && { preferred_username: session.user.name, email: session.user.email };
  if (pathname === "/refresh") {
    // Auth.js leaves this to the app.
    latest = (await refresh(latest ?? session.refreshToken)).refreshToken;
    refreshes += 1;
  }
  return new Response(home(person, refreshes), { headers: { "content-type": "text/html" } });
}
let latest;

http
  .createServer(async (incoming, outgoing) => {
    const response = await answer(incoming);
    outgoing.statusCode = response.status;
    for (const [name, value] of response.headers) if (name !== "set-cookie") outgoing.setHeader(name, value);
    outgoing.setHeader("set-cookie", response.headers.getSetCookie());
    outgoing.end(Buffer.from(await response.arrayBuffer()));
  })
  .listen(port, "127.0.0.1");
