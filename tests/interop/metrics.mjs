// What riley-auth counted, for apps that do not show whether they used a refresh token.
import { strict as assert } from "node:assert";

export async function refreshTokensIssued() {
  const text = await (await fetch(`${process.env.ISSUER}/metrics`)).text();
  const count = /^riley_auth_tokens_issued_total\{type="refresh"\} (\d+)$/m.exec(text)?.[1];
  assert.ok(count, "riley-auth counts what it issues");
  return Number(count);
}
