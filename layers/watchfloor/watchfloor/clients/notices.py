"""Mail to those on duty, by SNS."""

from __future__ import annotations

from typing import Any

from watchfloor.clients.aws import passing_errors


class Notices:
    """One topic; `sns` is a boto3 SNS client."""

    def __init__(self, sns: Any, topic_arn: str) -> None:
        self._sns = sns
        self._topic_arn = topic_arn

    def send(self, subject: str, text: str) -> None:
        with passing_errors():
            self._sns.publish(TopicArn=self._topic_arn, Subject=subject, Message=text)
