"""What stands around a Cloud Storage service for credentials: the token endpoint, the metadata server, the API of
impersonation, and the check of bearer tokens and permissions. All of it is served by gcs_server.py.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
import urllib.parse
from datetime import UTC, datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcs_state import ApiError
from google.auth import jwt

__all__ = ["EMAIL", "Identity"]

EMAIL = "tester@penstock-test.iam.gserviceaccount.com"
_JSON = {"content-type": "application/json; charset=UTF-8"}
_REALM = {"www-authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'}


class Identity:
    """Issues tokens that live ``lifetime`` seconds, and refuses requests without a living one."""

    def __init__(self, lifetime=3600):
        self.lifetime = lifetime
        #: Permissions that the caller does not have, such as ``storage.objects.create``.
        self.denied = set()
        #: The token endpoint answers so, while it is set: status and JSON.
        self.refusal = None
        #: By how many seconds this service's clock is ahead of the clients'.
        self.skew = 0
        self.issued = []
        self._ends = {}
        self._lock = threading.Lock()
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.refresh_token = "1//refresh-" + secrets.token_hex(8)

    # Files of credentials

    def service_account(self, endpoint, key=None):
        pem = (key or self.key).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "penstock-test",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": f"{endpoint}/token",
        }

    def user(self, endpoint):
        return {
            "type": "authorized_user",
            "client_id": "client",
            "client_secret": "client-secret",
            "refresh_token": self.refresh_token,
            "token_uri": f"{endpoint}/token",
            "quota_project_id": "quota-project",
        }

    def impersonated(self, endpoint):
        account = f"{endpoint}/v1/projects/-/serviceAccounts/{EMAIL}"
        return {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": f"{account}:generateAccessToken",
            "source_credentials": self.user(endpoint),
        }

    # Requests

    def answer(self, request):
        """Status, body and headers of what is asked of an identity service; None for the storage service."""
        path = request.path
        if path == "/token":
            return self._grant(dict(urllib.parse.parse_qsl(request.body.decode())))
        if path.endswith(":generateAccessToken"):
            self.check(request)
            token, life = self._issue()
            expires = datetime.fromtimestamp(time.time() + life, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return 200, json.dumps({"accessToken": token, "expireTime": expires}).encode(), _JSON
        if path == "/" or path.startswith("/computeMetadata"):
            return self._metadata(path)
        return None

    def check(self, request):
        """Raise what the service answers to a request that may not be."""
        said = request.headers.get("authorization", "")
        permission = _permission(request)
        if not said:
            message = f"Anonymous caller does not have {permission} access to the Google Cloud Storage object."
            raise ApiError(401, "required", message)
        with self._lock:
            alive = self._ends.get(said.removeprefix("Bearer "), 0) > time.time()
        if not alive:
            raise ApiError(401, "authError", "Invalid Credentials", _REALM)
        if permission in self.denied:
            message = (
                f"{EMAIL} does not have {permission} access to the Google Cloud Storage object. Permission "
                f"'{permission}' denied on resource (or it may not exist)."
            )
            raise ApiError(403, "forbidden", message)

    def revoke(self):
        """No token works any more."""
        with self._lock:
            self._ends.clear()

    def _issue(self):
        token = "ya29." + secrets.token_urlsafe(32)
        with self._lock:
            self.issued.append(token)
            self._ends[token] = time.time() + self.lifetime
        return token, self.lifetime

    def _grant(self, form):
        if self.refusal is not None:
            status, found = self.refusal
            return status, json.dumps(found).encode(), _JSON
        if form.get("grant_type") == "refresh_token":
            if form.get("refresh_token") != self.refresh_token:
                return _denied("Token has been expired or revoked.")
        else:
            problem = self._assertion(form.get("assertion", ""))
            if problem:
                return _denied(problem)
        token, life = self._issue()
        found = {"access_token": token, "expires_in": life, "token_type": "Bearer"}
        return 200, json.dumps(found).encode(), _JSON

    def _assertion(self, assertion):
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        _, payload, _, _ = jwt._unverified_decode(assertion)
        if abs(payload["iat"] - (time.time() + self.skew)) > 600:
            return (
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
                "Check your iat and exp values in the JWT claim."
            )
        try:
            jwt.decode(assertion, certs=public)
        except ValueError:
            return "Invalid JWT Signature."
        return None

    def _metadata(self, path):
        headers = {"metadata-flavor": "Google", **_JSON}
        if path.endswith("/token"):
            token, life = self._issue()
            found = {"access_token": token, "expires_in": life, "token_type": "Bearer"}
            return 200, json.dumps(found).encode(), headers
        if path.rstrip("/").endswith("/default"):
            return 200, json.dumps({"email": EMAIL, "scopes": [], "aliases": ["default"]}).encode(), headers
        if path.endswith("/project-id"):
            return 200, b"penstock-test", {"metadata-flavor": "Google", "content-type": "text/plain"}
        return (200 if path == "/" else 404), b"", {"metadata-flavor": "Google"}


def _denied(description):
    return 400, json.dumps({"error": "invalid_grant", "error_description": description}).encode(), _JSON


def _permission(request):
    path, method = request.path, request.method
    if path == "/batch/storage/v1" or path.endswith(":generateAccessToken"):
        return "none"
    if path.startswith("/upload/") or "/rewriteTo/" in path:
        return "storage.objects.create"
    if path.endswith("/o"):
        return "storage.objects.list"
    if "/o/" in path:
        verb = {"GET": "get", "DELETE": "delete", "PATCH": "update", "PUT": "update"}.get(method, "create")
        return f"storage.objects.{verb}"
    return {"GET": "storage.buckets.list", "POST": "storage.buckets.create"}.get(method, "storage.buckets.delete")
