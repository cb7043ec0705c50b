// Hands out the files; any static host does. `/settings.json` is what you would write into the app when you build it.
import { readFile } from "node:fs/promises";
import http from "node:http";

const { ISSUER, CLIENT_ID, BASE_URL = "http://localhost:3000" } = process.env;
const settings = { authority: ISSUER, client_id: CLIENT_ID };

const modules = new URL("node_modules/", import.meta.url);
const files = {
  "/": ["text/html", new URL("public/index.html", import.meta.url)],
  "/callback": ["text/html", new URL("public/index.html", import.meta.url)],
  "/silent": ["text/html", new URL("public/silent.html", import.meta.url)],
  "/app.js": ["text/javascript", new URL("public/app.js", import.meta.url)],
  "/silent.js": ["text/javascript", new URL("public/silent.js", import.meta.url)],
  "/user_manager.js": ["text/javascript", new URL("public/user_manager.js", import.meta.url)],
  "/modules/oidc-client-ts.js": ["text/javascript", new URL("oidc-client-ts/dist/esm/oidc-client-ts.js", modules)],
  "/modules/jwt-decode.js": ["text/javascript", new URL("jwt-decode/build/esm/index.js", modules)],
};

const server = http.createServer(async (request, response) => {
  const { pathname } = new URL(request.url, BASE_URL);
  if (pathname === "/settings.json") {
    response.setHeader("Content-Type", "application/json");
    return response.end(JSON.stringify(settings));
  }
  if (!Object.hasOwn(files, pathname)) return response.writeHead(404).end("not found");
  const [type, file] = files[pathname];
  response.setHeader("Content-Type", `${type}; charset=utf-8`);
  response.end(await readFile(file));
});
server.listen(Number(new URL(BASE_URL).port), "127.0.0.1", () => console.log(`open ${BASE_URL}/`));
