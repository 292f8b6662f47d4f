// The providers' own libraries behind a line protocol, so that tests never check our signatures with our own code.
// One JSON object a line on stdin, one JSON object a line on stdout, in the same order; ends when stdin closes.
//
//   sign      {"sdk", "secret", "body", "id"?, "timestamp"?}              -> {"headers": {name: value}}
//   verify    {"sdk", "verify": true, "secret", "headers", "body", "now"?} -> {"valid": true} | {"valid": false, "error"}
//   whole     {"sdk", "secret", "url", "body"}                            -> {"headers", "body"?, "query"?}: see signers.mjs
//   versions  {"sdk": "versions"}                                         -> {"versions": {name: version}}
//   anything that cannot be answered                                      -> {"error"}
//
// "sdk" is stripe, octokit, svix or standardwebhooks. "timestamp" and "now" are unix seconds and default to the clock.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import * as octokit from "@octokit/webhooks-methods";
import { Webhook as StandardWebhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";
import { SIGNERS } from "./signers.mjs";

const PACKAGES = ["@octokit/webhooks-methods", "standardwebhooks", "stripe", "svix"];

const seconds = () => Math.floor(Date.now() / 1000);

// svix and standardwebhooks differ only in the header prefix: each signs id, time and body.
const threeHeaders = (Webhook, prefix) => ({
  sign({ secret, body, id = `msg_${randomUUID()}`, timestamp = seconds() }) {
    const signature = new Webhook(secret).sign(id, new Date(timestamp * 1000), body);
    return { [`${prefix}-id`]: id, [`${prefix}-timestamp`]: String(timestamp), [`${prefix}-signature`]: signature };
  },
  verify({ secret, headers, body }) {
    try {
      new Webhook(secret).verify(body, headers);
    } catch (error) {
      // Both parse the body as JSON once the signature has matched; a body that is not JSON is no verdict on it.
      if (!(error instanceof SyntaxError)) throw error;
    }
  },
});

const SDKS = {
  stripe: {
    sign: ({ secret, body, timestamp = seconds() }) => ({
      "stripe-signature": Stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp }),
    }),
    // The check inside constructEvent, without its parsing, which refuses v2 thin events.
    verify: ({ secret, headers, body }) =>
      Stripe.webhooks.signature.verifyHeader(
        body, headers["stripe-signature"], secret, Stripe.webhooks.DEFAULT_TOLERANCE),
  },
  octokit: {
    sign: async ({ secret, body }) => ({ "x-hub-signature-256": await octokit.sign(secret, body) }),
    async verify({ secret, headers, body }) {
      if (!(await octokit.verify(secret, body, headers["x-hub-signature-256"]))) throw new Error("signature does not match");
    },
  },
  svix: threeHeaders(SvixWebhook, "svix"),
  standardwebhooks: threeHeaders(StandardWebhook, "webhook"),
};

// The libraries read the clock themselves; a test that verifies an old signature says when it was "now".
async function at(now, check) {
  if (now === undefined) return check();
  const clock = Date.now;
  Date.now = () => now * 1000;
  try {
    return await check();
  } finally {
    Date.now = clock;
  }
}

function versions() {
  const manifest = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), "utf8"));
  return Object.fromEntries(PACKAGES.map((name) => [name, manifest(name).version]));
}

async function verdict(sdk, request) {
  const headers = Object.fromEntries(
    Object.entries(request.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));
  try {
    await at(request.now, () => sdk.verify({ ...request, headers }));
    return { valid: true };
  } catch (error) {
    return { valid: false, error: error.message };
  }
}

async function answer(line) {
  try {
    const request = JSON.parse(line);
    if (request.sdk === "versions") return { versions: versions() };
    if (Object.hasOwn(SIGNERS, request.sdk)) return await SIGNERS[request.sdk](request);
    if (!Object.hasOwn(SDKS, request.sdk)) return { error: `unknown sdk: ${request.sdk}` };
    const sdk = SDKS[request.sdk];
    return request.verify ? await verdict(sdk, request) : { headers: await sdk.sign(request) };
  } catch (error) {
    return { error: error.message };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() !== "") process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
}
