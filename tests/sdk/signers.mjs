// Libraries that sign what they would receive; each is loaded when it is asked for, since some are large.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const form = (fields) => new URLSearchParams(fields).toString();
const FORM = { "content-type": "application/x-www-form-urlencoded" };

export const SIGNERS = {
  // Fields of a form, sorted, behind the URL; any other body by its hash in the query.
  twilio({ secret, url, body }) {
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
};
