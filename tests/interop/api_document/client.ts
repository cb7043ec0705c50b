// A front end's calls in the types that the API document gives them; it compiles only while the document says what the
// server does.
import createClient from "openapi-fetch";
import type { components, paths, webhooks } from "./.work/api.js";

declare const process: { argv: string[]; env: Record<string, string | undefined> };

type Schemas = components["schemas"];

const issuer = process.argv[2];
const cookies = process.env["COOKIES"];
if (issuer === undefined || cookies === undefined) throw new Error("usage: COOKIES=… client ISSUER");
const page = { "X-Requested-With": "interop" };
const anonymous = createClient<paths>({ baseUrl: issuer, headers: page });
const api = createClient<paths>({ baseUrl: issuer, headers: { ...page, Cookie: cookies } });

function must(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

/** The data of an answer that has to be a success. */
function data<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  must(answer.data !== undefined, `${answer.response.url}: ${answer.response.status} ${JSON.stringify(answer.error)}`);
  return answer.data;
}

const providers = data(await anonymous.GET("/auth/providers"));
const names: string[] = providers.map((provider) => provider.name);
must(names.includes("simulated"), `the providers are ${names.join(", ")}`);

// Nobody is signed in: the refusal has the shape that the document gives it.
const refused = await anonymous.GET("/auth/me");
const error: Schemas["ErrorBody"] | undefined = refused.error;
must(refused.response.status === 401 && error?.error === "unauthenticated", `a stranger is told ${JSON.stringify(error)}`);

// @ts-expect-error a member that nobody may set is no member of the type
const setup: Schemas["SetupChoice"] = { username: "ada", role: "admin" };
const refusedSetup = await anonymous.POST("/auth/setup", { body: setup });
must(!refusedSetup.response.ok, "nobody waits for a name, and yet an account was made");

// The account.
const me = data(await api.GET("/auth/me"));
must(me.role === "admin", `the role is ${me.role}`);
const changed = data(await api.PATCH("/auth/me", { body: { display_name: "Typed" } }));
must(changed.display_name === "Typed", "the display name is another");
const { sessions } = data(await api.GET("/auth/sessions"));
must(sessions.filter((session) => session.current).length === 1, "one session is this one");
const exported: Schemas["Export"] = data(await api.GET("/auth/me/export"));
must(exported.account.user_id === me.user_id && exported.links[0]?.provider === "simulated", "the export is somebody else's");

// The administration: an app from its registration to its end.
const registration: Schemas["ClientRegistration"] = {
  name: "Typed",
  redirect_uris: ["https://typed.example/callback"],
};
const app = data(await api.POST("/admin/clients", { body: registration }));
must(typeof app.client_secret === "string", "a confidential app has a secret");
const named = { params: { path: { client_id: app.client_id } } };
const renamed = data(await api.PATCH("/admin/clients/{client_id}", { ...named, body: { name: "Typed anew" } }));
must(renamed.name === "Typed anew", "the app has another name");
// @ts-expect-error what an app is cannot be changed
const other: Schemas["ClientChanges"] = { client_type: "public" };
const refusedChange = await api.PATCH("/admin/clients/{client_id}", { ...named, body: other });
must(refusedChange.response.status === 400, "an app became another kind of app");
data(await api.POST("/admin/clients/{client_id}/secret", { ...named, body: { overlap_secs: 60 } }));

// A webhook, and what it would be sent.
const hook = data(await api.POST("/admin/webhooks", { body: { url: "https://hook.example/", client_id: app.client_id } }));
const deliveries = data(
  await api.GET("/admin/webhooks/{webhook_id}/deliveries", { params: { path: { webhook_id: hook.webhook_id } } }),
);
must(deliveries.items.length === 0 && deliveries.next_cursor === null, "a new webhook has deliveries");
type Message = webhooks["user.username_changed"]["post"]["requestBody"]["content"]["application/json"];
const message: Message = {
  type: "user.username_changed",
  timestamp: "2026-01-31T12:00:00Z",
  data: { user_id: me.user_id, old_username: "ada", new_username: "countess" },
};
const any: Schemas["Event"] = message;
must(any.type === "user.username_changed" && any.data.new_username === "countess", "one message is one of all");
const removed = await api.DELETE("/admin/webhooks/{webhook_id}", { params: { path: { webhook_id: hook.webhook_id } } });
must(removed.response.status === 204, "the webhook is still there");

// People, names, the trail.
const found = data(await api.GET("/admin/users", { params: { query: { role: "admin", limit: 1 } } }));
must(found.items[0]?.role === "admin", "an administrator is among the administrators");
const shown = data(await api.GET("/admin/users/{user_id}", { params: { path: { user_id: me.user_id } } }));
must(shown.username === me.username, "the account is another");
data(await api.POST("/admin/reserved-usernames", { body: { username: "typed-name" } }));
await api.DELETE("/admin/reserved-usernames/{name}", { params: { path: { name: "typed-name" } } });
data(await api.GET("/admin/reserved-usernames", { params: { query: { limit: 5 } } }));
await api.DELETE("/admin/clients/{client_id}", named);
const gone = await api.GET("/admin/clients/{client_id}", named);
must(gone.response.status === 404 && gone.error?.error === "not_found", "the app is still there");
const trail = data(
  await api.GET("/admin/audit", { params: { query: { action: "client_deleted", target_id: app.client_id, actor: "user" } } }),
);
must(trail.items.length === 1 && trail.items[0]?.actor_user_id === me.user_id, "the trail tells who deleted the app");

console.log(`generated client: ${names.length} provider(s), an account, an administration, refusals as described`);
