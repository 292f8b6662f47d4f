"""The libraries that only PyPI has, behind the line protocol of sign.mjs: whole requests, signed by their vendors.

    {"sdk", "secret", "url", "body"} -> {"headers"}, or {"error"}
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "python"))

from mollie.utils.webhooks import SignatureValidator
from paddle_billing.Notifications.PaddleSignature import PaddleSignature
from slack_sdk.signature import SignatureVerifier


def slack(secret: str, body: str) -> dict[str, str]:
    at = str(int(time.time()))
    signature = SignatureVerifier(secret).generate_signature(timestamp=at, body=body)
    return {"x-slack-request-timestamp": at, "x-slack-signature": signature}


def paddle(secret: str, body: str) -> dict[str, str]:
    at = int(time.time())
    signature = PaddleSignature.calculate_hmac(secret, f"{at}:{body}".encode()).hexdigest()
    return {"paddle-signature": f"ts={at};h1={signature}"}


def mollie(secret: str, body: str) -> dict[str, str]:
    return {SignatureValidator.SIGNATURE_HEADER: f"sha256={SignatureValidator.create_signature(body, secret)}"}


SIGNERS = {"slack": slack, "paddle": paddle, "mollie": mollie}

for line in sys.stdin:
    try:
        request = json.loads(line)
        answer = {"headers": SIGNERS[request["sdk"]](request["secret"], request["body"])}
    except Exception as error:  # what was asked for cannot be answered; the process goes on
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
