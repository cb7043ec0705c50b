// A front end's calls in the types that the API document gives them; it compiles only while the document says what the
// server does.
import createClient from "openapi-fetch";
import type { components, paths } from "./.work/api.js";

declare const process: { argv: string[] };

const issuer = process.argv[2];
if (issuer === undefined) throw new Error("usage: client ISSUER");
const api = createClient<paths>({ baseUrl: issuer, headers: { "X-Requested-With": "interop" } });

const providers = await api.GET("/auth/providers");
const names: string[] = (providers.data ?? []).map((provider) => provider.name);
if (!names.includes("simulated")) throw new Error(`the providers are ${names.join(", ")}`);

// Nobody is signed in: the refusal has the shape that the document gives it.
const refused = await api.GET("/auth/me");
const error: components["schemas"]["ErrorBody"] | undefined = refused.error;
if (refused.response.status !== 401 || error?.error !== "unauthenticated") {
  throw new Error(`an anonymous caller is told ${refused.response.status} ${JSON.stringify(error)}`);
}

// @ts-expect-error a member that nobody may set is no member of the type
const setup: components["schemas"]["SetupChoice"] = { username: "ada", role: "admin" };
const refusedSetup = await api.POST("/auth/setup", { body: setup });
if (refusedSetup.response.ok) throw new Error("nobody waits for a name, and yet an account was made");

console.log(`generated client: ${names.length} provider(s), refusals as described`);
