// An app with the routes that `app.mjs` knows: node use.mjs NAME [no-refresh] [own-sign-out] [hears-logouts] [login=PATH]
import { useApp } from "../app.mjs";

const [name, ...particulars] = process.argv.slice(2);
const path = particulars.find((text) => text.startsWith("login="))?.slice("login=".length) ?? "/login";
await useApp(name, {
  login: (person) => person.open(process.env.BASE_URL + path),
  offersRefresh: !particulars.includes("no-refresh"),
  isOwnSignOut: particulars.includes("own-sign-out"),
  hearsLogouts: particulars.includes("hears-logouts"),
});
