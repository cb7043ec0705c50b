// next-auth leaves refreshing to the app.
import { getServerSession } from "next-auth/next";
import { refresh } from "../../../pages.mjs";
import { options } from "./auth/[...nextauth]";

export default async function handler(request, response) {
  const session = await getServerSession(request, response, options);
  const refreshed = await refresh(globalThis.latest ?? session.refreshToken);
  globalThis.latest = refreshed.refreshToken;
  globalThis.refreshes = (globalThis.refreshes ?? 0) + 1;
  response.redirect(303, "/");
}
