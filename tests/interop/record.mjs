// Writes what `tests/interop/run --all --record` found into the table of docs/clients.md:
//
//   node record.mjs RESULTS     lines of `NAME passed` or `NAME failed`, a check `NAME:PART` counting for NAME
//
// The versions are those of the lock files, and of Apache's module as it is installed. The commit is riley-auth's: the tree
// has to be that commit's, so that it says what was tried.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const root = new URL("../../", import.meta.url);
const read = (path) => readFileSync(new URL(path, root), "utf8");

const npm = (lock, name) => JSON.parse(read(`${lock}/package-lock.json`)).packages[`node_modules/${name}`].version;
const pinned = (path, pattern) => new RegExp(pattern, "m").exec(read(path))[1];
const python = (path, name) => pinned(path, `^${name}(?:\\[[^\\]]*\\])?==([^ ]+)`);
const debian = (name) => execFileSync("dpkg-query", ["--show", "--showformat=${Version}", name], { encoding: "utf8" });

const onDemand = "tests/interop/on_demand";
const clients = {
  openid_client: ["openid-client (npm)", () => npm("tests/interop", "openid-client")],
  authlib: ["Authlib (PyPI)", () => python("examples/flask/requirements.txt", "authlib")],
  openidconnect_crate: [
    "openidconnect (crates.io)",
    () => pinned("tests/interop/openidconnect_crate/Cargo.lock", 'name = "openidconnect"\nversion = "([^"]+)"'),
  ],
  express: ["examples/express (openid-client)", () => npm("examples/express", "openid-client")],
  flask: ["examples/flask (Authlib)", () => python("examples/flask/requirements.txt", "authlib")],
  go: ["examples/go (coreos/go-oidc)", () => pinned("examples/go/go.mod", "coreos/go-oidc/v3 v([0-9.]+)")],
  single_page_app: ["examples/single_page_app (oidc-client-ts)", () => npm("examples/single_page_app", "oidc-client-ts")],
  apache: ["examples/apache (mod_auth_openidc)", () => debian("libapache2-mod-auth-openidc")],
  resource_server: ["examples/resource_server (jose)", () => npm("examples/resource_server", "jose")],
  same_domain: ["examples/same_domain (jose)", () => npm("examples/same_domain", "jose")],
  oauth4webapi: ["oauth4webapi (npm)", () => npm(onDemand, "oauth4webapi")],
  idpyoidc: ["idpyoidc (PyPI)", () => python(`${onDemand}/requirements.txt`, "idpyoidc")],
  native_app: ["requests-oauthlib, a native app (PyPI)", () => python(`${onDemand}/requirements.txt`, "requests-oauthlib")],
  passport: ["passport-openidconnect (npm)", () => npm(onDemand, "passport-openidconnect")],
  express_openid_connect: ["express-openid-connect (npm)", () => npm(onDemand, "express-openid-connect")],
  authjs: ["Auth.js, @auth/core (npm)", () => npm(onDemand, "@auth/core")],
  next_auth: ["next-auth (npm)", () => npm(`${onDemand}/next_auth`, "next-auth")],
  mozilla_django_oidc: ["mozilla-django-oidc (PyPI)", () => python(`${onDemand}/requirements.txt`, "mozilla-django-oidc")],
  social_auth: ["Python Social Auth, social-auth-app-django (PyPI)", () => python(`${onDemand}/requirements.txt`, "social-auth-app-django")],
  spring_security: [
    "Spring Security (Maven)",
    () => {
      const boot = pinned(`${onDemand}/spring_security/pom.xml`, "<version>([0-9.]+)</version>");
      const managed = `org/springframework/boot/spring-boot-dependencies/${boot}/spring-boot-dependencies-${boot}.pom`;
      const security = pinned(`tests/interop/.work/maven/${managed}`, "<spring-security.version>([0-9.]+)</");
      return `${security}, by Spring Boot ${boot}`;
    },
  ],
  synapse: ["Synapse, a Matrix homeserver (PyPI)", () => python(`${onDemand}/requirements.txt`, "matrix-synapse")],
  streamlit: ["Streamlit (PyPI)", () => python(`${onDemand}/requirements.txt`, "streamlit")],
  directus: ["Directus (npm)", () => npm(`${onDemand}/directus`, "directus")],
};

const git = (...words) => execFileSync("git", ["-C", root.pathname, ...words], { encoding: "utf8" }).trim();
if (git("status", "--porcelain", "--untracked-files=no") !== "") throw new Error("commit first: what was tried has to have a name");
const commit = git("rev-parse", "--short", "HEAD");

// `es256:NAME` is the client NAME with ID tokens by ES256 instead of RS256.
const results = { rs256: new Map(), es256: new Map() };
for (const line of readFileSync(process.argv[2], "utf8").trim().split("\n")) {
  const [check, result] = line.split(" ");
  const [name, part] = check.split(":");
  const [of, key] = name === "es256" ? [results.es256, part] : [results.rs256, name];
  if (of.get(key) !== "failed") of.set(key, result);
}

const date = new Date().toISOString().slice(0, 10);
const rows = Object.entries(clients)
  .filter(([name]) => results.rs256.has(name))
  .map(([name, [title, version]]) => {
    const [rs256, es256] = [results.rs256.get(name), results.es256.get(name) ?? ""];
    return `| ${title} | ${version()} | ${date} | \`${commit}\` | ${rs256} | ${es256} |`;
  });
const [begin, end] = ["<!-- last run: written by tests/interop/run --all --record -->", "<!-- end of last run -->"];
const head = ["| client | version | tried | riley-auth | RS256 | ES256 |", "| --- | --- | --- | --- | --- | --- |"];
const table = [begin, ...head, ...rows, end].join("\n");
const page = read("docs/clients.md");
if (!page.includes(begin) || !page.includes(end)) throw new Error("docs/clients.md has no place for the table");
const [before, after] = [page.slice(0, page.indexOf(begin)), page.slice(page.indexOf(end) + end.length)];
writeFileSync(new URL("docs/clients.md", root), before + table + after);
