"""A boto3 session bound to one endpoint, so that no environment variable has to be set for it."""

from typing import Any

import boto3
from botocore.config import Config


class LocalSession(boto3.Session):
    """A boto3 session all of whose clients and resources talk to ``endpoint_url``."""

    def __init__(self, endpoint_url: str, region: str) -> None:
        super().__init__(aws_access_key_id="test", aws_secret_access_key="test", region_name=region)
        self.endpoint_url = endpoint_url

    def client(self, *arguments: Any, **keywords: Any) -> Any:  # type: ignore[override]
        return super().client(*arguments, **self._bound(keywords))

    def resource(self, *arguments: Any, **keywords: Any) -> Any:  # type: ignore[override]
        return super().resource(*arguments, **self._bound(keywords))

    def _bound(self, keywords: dict[str, Any]) -> dict[str, Any]:
        # No proxy stands between this machine and itself.
        config = Config(proxies={}).merge(keywords.get("config") or Config())
        return {"endpoint_url": self.endpoint_url} | keywords | {"config": config}
