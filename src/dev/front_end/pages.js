// What the pages do, on the public JSON API alone. Every page is handed one opaque id in its URL and passes it on;
// who somebody is, the API knows by its own cookies, which this script cannot read.
"use strict";

const issuer = document.documentElement.dataset.issuer;
const parameters = new URLSearchParams(location.search);
const element = (id) => document.getElementById(id);

// Calls the API with the person's cookies. X-Requested-With cannot be sent by foreign pages without being asked about
// it first, so it tells the API that this call is meant (its protection against forged requests).
async function call(method, path, body) {
  const headers = { "X-Requested-With": "front-end", Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(issuer + path, {
    method,
    headers,
    credentials: "include",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  const answer = text === "" ? {} : JSON.parse(text);
  if (!response.ok) {
    const failure = new Error(answer.error_description || answer.error || "That did not work.");
    failure.status = response.status;
    throw failure;
  }
  return answer;
}

function say(text, isBad = false) {
  const message = element("message");
  message.textContent = text;
  message.className = isBad ? "bad" : "";
}

// Runs something that may fail, and tells the person if it does.
async function attempt(action) {
  try {
    say("");
    await action();
  } catch (failure) {
    say(failure.message, true);
  }
}

function onClick(id, action) {
  element(id).addEventListener("click", () => attempt(action));
}

// One link for each of these upstream providers. After the sign-in the API goes on with the stored request that the query
// names, or leads back to where it says.
function offerProviders(providers, query) {
  for (const provider of providers) {
    const link = document.createElement("a");
    link.className = "button first";
    link.id = "provider-" + provider.name;
    link.href = provider.start_url + (query === null ? "" : "?" + new URLSearchParams(query));
    link.textContent = "Sign in with " + provider.display_name;
    element("providers").append(link, " ");
  }
  if (providers.length === 0) say("There is no way to sign in here.", true);
}

// What became of a sign-in that the person tried, by the codes that the API hands to the page.
const signInFailures = {
  access_denied: "You cancelled the sign-in. Try again, or choose another way.",
  sign_in_failed: "The provider did not confirm who you are. Try again, or choose another way.",
  upstream_unavailable: "The provider cannot be reached at the moment. Try again later, or choose another way.",
};

// This page, to come back to.
const here = { return_to: location.origin + location.pathname };

// The person who is signed in, or null.
async function whoAmI() {
  return await callUnless(401, "/auth/me");
}

// What there is to read, or null if the answer has this status.
async function callUnless(status, path) {
  try {
    return await call("GET", path);
  } catch (failure) {
    if (failure.status === status) return null;
    throw failure;
  }
}

// A list with a button for each item; what the button did shows in the list that is read again.
function fill(id, items, describe, label, action) {
  element(id).replaceChildren(
    ...items.map((item) => {
      const line = document.createElement("li");
      line.textContent = describe(item) + " ";
      const button = document.createElement("button");
      button.textContent = label(item);
      button.addEventListener("click", () => attempt(() => action(item)));
      line.append(button);
      return line;
    }),
  );
}

async function listSessions() {
  const { sessions } = await call("GET", "/auth/sessions");
  const describe = (session) =>
    session.device + ", last used " + new Date(session.last_used_at).toLocaleString() + (session.current ? " (here)" : "");
  fill("sessions", sessions, describe, () => "Sign out", async (session) => {
    await call("DELETE", "/auth/sessions/" + encodeURIComponent(session.session_id));
    if (session.current) location.assign("/signed-out");
    else await listSessions();
  });
}

async function listConsents() {
  const { consents } = await call("GET", "/auth/me/consents");
  fill("consents", consents, (consent) => consent.name, () => "Withdraw", async (consent) => {
    await call("DELETE", "/auth/me/consents/" + encodeURIComponent(consent.client_id));
    await listConsents();
  });
}

// What the person changes is answered as it is then, and shown.
function onSubmit(id, action) {
  element(id).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(action);
  });
}

// The document as a file. The API names it, but a script has to hand it on.
async function download() {
  const text = JSON.stringify(await call("GET", "/auth/me/export"), null, 2);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "account.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

async function deleteAccount() {
  if (!confirm("Delete this account for good?")) return;
  await call("DELETE", "/auth/me");
  location.assign("/signed-out");
}
// What waits to be linked, as the person who may confirm it is shown it.
function showProposal(proposal) {
  element("link-display").textContent = proposal.display;
  element("link-email").textContent = proposal.email === null ? "" : "(" + proposal.email + ")";
  element("link-provider").textContent = proposal.provider.display_name;
  element("link-username").textContent = proposal.username;
  element("sign-in-again").hidden = !proposal.reauthentication_required;
  element("confirm-link").hidden = proposal.reauthentication_required;
  element("proposal").hidden = false;
  onClick("confirm-link", async () => {
    // The id says that this is what was shown, whatever another tab has begun since.
    const { confirmation_id } = proposal;
    const { redirect_to } = await call("POST", "/auth/link/confirm", { confirmation_id });
    location.assign(redirect_to || "/account");
  });
}

// One line for each linked provider, one button for each that is not.
async function listLinks() {
  const links = await call("GET", "/auth/me/links");
  const providers = await call("GET", "/auth/providers");
  element("links").replaceChildren();
  element("link-more").replaceChildren();
  for (const link of links) {
    const item = document.createElement("li");
    item.id = "link-" + link.provider;
    item.textContent = [link.provider_display_name, link.display, link.email].filter(Boolean).join(", ") + " ";
    if (links.length > 1) {
      item.append(
        button("unlink-" + link.provider, "Remove", async () => {
          const { signed_out } = await call("DELETE", "/auth/link/" + encodeURIComponent(link.provider));
          if (signed_out) location.assign("/signed-out");
          else await listLinks();
        }),
      );
    }
    element("links").append(item);
  }
  const isLinked = (provider) => links.some((link) => link.provider === provider.name);
  for (const provider of providers.filter((provider) => !isLinked(provider))) {
    const add = button("link-with-" + provider.name, "Also sign in with " + provider.display_name, async () => {
      const { authorization_url } = await call("POST", "/auth/link/" + encodeURIComponent(provider.name), here);
      location.assign(authorization_url);
    });
    element("link-more").append(add, " ");
  }
}

function button(id, text, action) {
  const made = document.createElement("button");
  made.id = id;
  made.textContent = text;
  made.addEventListener("click", () => attempt(action));
  return made;
}

// What a link can come to nothing for, by the code that the page is handed.
const linkFailures = {
  access_denied: "You said no at the provider. Nothing has changed.",
  identity_linked: "This identity leads to another account already.",
  session_changed: "You are not signed in any more as you were when you began. Sign in and start again.",
  upstream_unavailable: "The provider cannot be reached at the moment. Try again later.",
};

async function signOut() {
  await call("POST", "/auth/logout");
  location.assign("/signed-out");
}

const pages = {
  async login() {
    const requestId = parameters.get("request_id");
    offerProviders(await call("GET", "/auth/providers"), requestId === null ? null : { request_id: requestId });
    const failure = parameters.get("error");
    if (failure !== null) say(signInFailures[failure] || "That sign-in did not work.", true);
  },

  async welcome() {
    const setup = await call("GET", "/auth/setup");
    const username = element("username");
    const displayName = element("display-name");
    username.value = setup.suggested_username || "";
    username.minLength = setup.username_rules.min_length;
    username.maxLength = setup.username_rules.max_length;
    displayName.value = setup.name || "";
    displayName.maxLength = setup.username_rules.max_display_name_length;
    element("link-suggested").hidden = !setup.link_suggested;
    element("setup").hidden = false;
    username.focus();
    element("setup").addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(async () => {
        const account = { username: username.value };
        if (displayName.value.trim() !== "") account.display_name = displayName.value.trim();
        const { redirect_to } = await call("POST", "/auth/setup", account);
        location.assign(redirect_to || "/account");
      });
    });
  },

  async link() {
    const failure = parameters.get("error");
    if (failure !== null) {
      element("back").hidden = false;
      say(linkFailures[failure] || "That did not work. Nothing has changed.", true);
      return;
    }
    const me = await whoAmI();
    const setup = await callUnless(404, "/auth/setup");
    const isSuggested = setup !== null && setup.link_suggested;
    const proposal = me === null ? null : await callUnless(404, "/auth/link/confirm");
    const providers = await call("GET", "/auth/providers");
    element("own-account").hidden = !isSuggested;
    if (proposal !== null) {
      showProposal(proposal);
      if (proposal.reauthentication_required) {
        const links = await call("GET", "/auth/me/links");
        const isLinked = (provider) => links.some((link) => link.provider === provider.name);
        offerProviders(providers.filter(isLinked), here);
      }
    } else if (isSuggested) {
      element("suggestion").hidden = false;
      offerProviders(providers.filter((provider) => provider.name !== setup.provider.name), here);
    } else {
      element("back").hidden = false;
      say("Nothing waits to be linked.");
    }
  },

  async consent() {
    const consentId = parameters.get("consent_id") || "";
    const consent = await call("GET", "/oauth/consent?" + new URLSearchParams({ consent_id: consentId }));
    const user = consent.user;
    element("client-name").textContent = consent.client.name;
    element("redirect-host").textContent = consent.client.redirect_host;
    element("user").textContent = typeof user === "string" ? user : user.display_name || user.username;
    for (const scope of consent.scopes) {
      const item = document.createElement("li");
      item.id = "scope-" + scope.name;
      item.textContent = scope.description || scope.name;
      element("scopes").append(item);
    }
    const decide = (approved) => async () => {
      const { redirect_to } = await call("POST", "/oauth/consent", { consent_id: consentId, approved });
      location.assign(redirect_to);
    };
    onClick("approve", decide(true));
    onClick("deny", decide(false));
    element("consent").hidden = false;
  },

  async account() {
    const me = await whoAmI();
    if (me === null) {
      say("You are not signed in.");
      element("anonymous").hidden = false;
      return;
    }
    const show = (account) => {
      element("username").textContent = account.username;
      element("display-name").textContent = account.display_name || "";
      element("created-at").textContent = new Date(account.created_at).toLocaleDateString();
    };
    show(me);
    element("new-display-name").value = me.display_name || "";
    element("rename").hidden = !me.username_changes_allowed;
    onClick("sign-out", signOut);
    onSubmit("profile", async () =>
      show(await call("PATCH", "/auth/me", { display_name: element("new-display-name").value })),
    );
    onSubmit("rename", async () =>
      show(await call("PATCH", "/auth/me/username", { username: element("new-username").value })),
    );
    onClick("end-others", async () => {
      await call("DELETE", "/auth/sessions");
      await listSessions();
    });
    onClick("export", download);
    // The API asks for a sign-in within ten minutes and says so.
    onClick("delete-account", deleteAccount);
    await Promise.all([listSessions(), listConsents()]);
    element("account").hidden = false;
    await listLinks();
  },

  async "signed-out"() {
    const me = await whoAmI();
    if (me === null) {
      say("You are signed out.");
      element("anonymous").hidden = false;
      return;
    }
    element("username").textContent = me.username;
    onClick("sign-out", signOut);
    element("account").hidden = false;
  },

  async error() {
    const errorId = parameters.get("error_id");
    if (errorId === null) return;
    element("error-id").textContent = errorId;
    element("help").hidden = false;
  },
};

attempt(pages[document.documentElement.dataset.page]);
