// Libraries that sign what they would receive; each is loaded when it is asked for, since some are large.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
// A file that its package does not export.
const inside = (path) => require(fileURLToPath(new URL(`node_modules/${path}`, import.meta.url)));
const seconds = () => Math.floor(Date.now() / 1000);
const form = (fields) => new URLSearchParams(fields).toString();
const FORM = { "content-type": "application/x-www-form-urlencoded" };

// A message whose text is `body`.
function twilioForm(secret, url, body, algorithm) {
  const { getExpectedTwilioSignature } = require("twilio/lib/webhooks/webhooks.js");
  const fields = { MessageSid: "SMe1e2b7c8f5a34d6d8b8c1a2b3c4d5e60", MessageStatus: "delivered", Body: body };
  const signature = getExpectedTwilioSignature(secret, url, fields, algorithm);
  return { headers: { "x-twilio-signature": signature, ...FORM }, body: form(fields) };
}

function hubspotPlain(version, { secret, url, body }) {
  const { Signature } = require("@hubspot/api-client/lib/src/utils/signature.js");
  const signature = Signature.getSignature("POST", version, { clientSecret: secret, requestBody: body, url });
  return { headers: { "x-hubspot-signature": signature, "x-hubspot-signature-version": version } };
}

function shopifyHmac(secret, body) {
  const { createSHA256HMAC } = inside("@shopify/shopify-api/dist/cjs/runtime/crypto/utils.js");
  inside("@shopify/shopify-api/dist/cjs/adapters/node/index.js");
  return createSHA256HMAC(secret, body);
}

export const SIGNERS = {
  // Fields of a form, sorted, behind the URL.
  twilio({ secret, url, body }) {
    return twilioForm(secret, url, body);
  },
  "twilio-shared-key"({ secret, url, body }) {
    const { SIGNATURE_SETTINGS_HEADER, HMAC_SHA256 } = require("twilio/lib/webhooks/webhooks.js");
    const signed = twilioForm(secret, url, body, HMAC_SHA256);
    signed.headers[SIGNATURE_SETTINGS_HEADER] = `key=webhooks_sharedkey_01,algorithm=${HMAC_SHA256}`;
    return signed;
  },
  // Any other body by its hash in the query.
  "twilio-json"({ secret, url, body }) {
    const { getExpectedTwilioSignature, getExpectedBodyHash } = require("twilio/lib/webhooks/webhooks.js");
    const target = `${url}?bodySHA256=${getExpectedBodyHash(body)}`;
    return {
      headers: { "x-twilio-signature": getExpectedTwilioSignature(secret, target, {}), "content-type": "application/json" },
      query: new URL(target).search,
    };
  },
  adyen({ secret, body }) {
    const { hmacValidator } = require("@adyen/api-library");
    const notification = JSON.parse(body);
    for (const { NotificationRequestItem: item } of notification.notificationItems) {
      item.additionalData = { hmacSignature: new hmacValidator().calculateHmac(item, secret) };
    }
    return { headers: {}, body: JSON.stringify(notification) };
  },
  // The whole body, as it is.
  "adyen-platform"({ secret, body }) {
    const { hmacValidator } = require("@adyen/api-library");
    return { headers: { hmacsignature: new hmacValidator().calculateHmac(body, secret) } };
  },
  braintree({ secret, body }) {
    const { BraintreeGateway, Environment } = require("braintree");
    const [publicKey, privateKey] = secret.split(":");
    const gateway = new BraintreeGateway({ environment: Environment.Sandbox, merchantId: "m", publicKey, privateKey });
    const sample = gateway.webhookTesting.sampleNotification("subscription_went_past_due", body);
    return { headers: FORM, body: form(sample) };
  },
  async notion({ secret, body }) {
    const { signWebhookPayload } = require("@notionhq/client/build/src/webhooks.js");
    return { headers: { "x-notion-signature": await signWebhookPayload({ body, verificationToken: secret }) } };
  },
  async livekit({ secret, body }) {
    const { AccessToken } = await import("livekit-server-sdk");
    const { createHash } = await import("node:crypto");
    const token = new AccessToken("an API key", secret, { ttl: 60 });
    token.sha256 = createHash("sha256").update(body).digest("base64");
    return { headers: { authorization: await token.toJwt() } };
  },
  "hubspot-v1": (request) => hubspotPlain("v1", request),
  "hubspot-v2": (request) => hubspotPlain("v2", request),
  hubspot({ secret, url, body }) {
    const { Signature } = require("@hubspot/api-client/lib/src/utils/signature.js");
    const timestamp = Date.now();
    const options = { clientSecret: secret, requestBody: body, url, timestamp };
    const signature = Signature.getSignature("POST", "v3", options);
    return { headers: { "x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": String(timestamp) } };
  },
  async retell({ secret, body }) {
    const { sign } = require("retell-sdk/lib/webhook_auth.js");
    return { headers: { "x-retell-signature": await sign(body, secret) } };
  },
  pusher({ secret, body }) {
    const Token = require("pusher/lib/token.js");
    return { headers: { "x-pusher-signature": new Token("key", secret).sign(body), "x-pusher-key": "key" } };
  },
  smartcar({ secret, body }) {
    const smartcar = require("smartcar");
    return { headers: { "sc-signature": smartcar.hashChallenge(secret, body) } };
  },
  async shopify({ secret, body }) {
    const signature = await shopifyHmac(secret, body);
    return { headers: { "x-shopify-hmac-sha256": signature, "x-shopify-webhook-id": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043" } };
  },
  async "shopify-events"({ secret, body }) {
    const signature = await shopifyHmac(secret, body);
    return { headers: { "shopify-hmac-sha256": signature, "shopify-webhook-id": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd0c3" } };
  },
  async square({ secret, url, body }) {
    const { createHmacOverride } = inside("square/core/crypto/createHmacOverride.js");
    return { headers: { "x-square-hmacsha256-signature": await createHmacOverride(url + body, secret) } };
  },
  async mux({ secret, body }) {
    const { Mux } = require("@mux/mux-node");
    const t = seconds();
    const client = new Mux({ tokenId: "id", tokenSecret: "secret" });
    return { headers: { "mux-signature": `t=${t},v1=${await client.webhooks.computeSignature(`${t}.${body}`, secret)}` } };
  },
  finch({ secret, body }) {
    const { Finch } = require("@tryfinch/finch-api");
    const [eventId, timestamp] = ["b2c9f1e0-0001-4d6e-9f00-aa0000000001", new Date(seconds() * 1000)];
    const key = Buffer.from(secret, "base64");
    const signature = new Finch({ accessToken: "token" }).webhooks.signPayload(body, { eventId, timestamp, secret: key });
    return {
      headers: {
        "finch-event-id": eventId,
        "finch-timestamp": String(timestamp.getTime() / 1000),
        "finch-signature": signature,
      },
    };
  },
  cloudinary({ secret, body }) {
    const { utils } = require("cloudinary").v2;
    const t = String(seconds());
    const signature = utils.webhook_signature(body, t, { api_secret: secret });
    return { headers: { "x-cld-timestamp": t, "x-cld-signature": signature } };
  },
  "modern-treasury"({ secret, body }) {
    const { ModernTreasury } = require("modern-treasury");
    const client = new ModernTreasury({ organizationID: "id", apiKey: "key" });
    return { headers: { "x-signature": client.webhooks.getSignature(body, { key: secret }) } };
  },
  async sanity({ secret, body }) {
    const { encodeSignatureHeader } = require("@sanity/webhook");
    return { headers: { "sanity-webhook-signature": await encodeSignatureHeader(body, Date.now(), secret) } };
  },
  // It takes the event, and signs its shortest form.
  async workos({ secret, body }) {
    const { WorkOS } = require("@workos-inc/node");
    const [t, event] = [Date.now(), JSON.parse(body)];
    const signature = await new WorkOS("key").webhooks.computeSignature(t, event, secret);
    return { headers: { "workos-signature": `t=${t}, v1=${signature}` }, body: JSON.stringify(event) };
  },
  "coinbase-commerce"({ secret, body }) {
    const { Webhook } = require("coinbase-commerce-node");
    return { headers: { "x-cc-webhook-signature": Webhook.computeSignature(body, secret) } };
  },
  // Plaid's libraries judge nothing; its documentation signs and verifies with one for JSON Web Tokens. The secret is the
  // private key.
  async plaid({ secret, body }) {
    const { SignJWT, importJWK } = await import("jose");
    const { createHash } = await import("node:crypto");
    const key = JSON.parse(secret);
    const token = new SignJWT({ request_body_sha256: createHash("sha256").update(body).digest("hex") });
    token.setProtectedHeader({ alg: "ES256", kid: key.kid, typ: "JWT" }).setIssuedAt();
    return { headers: { "plaid-verification": await token.sign(await importJWK(key, "ES256")) } };
  },
};
