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

    def has_readers(self) -> bool:
        """Whether anybody has subscribed and confirmed it; SNS takes notices for nobody, too."""
        with passing_errors():
            found = self._sns.list_subscriptions_by_topic(TopicArn=self._topic_arn)["Subscriptions"]
        # Until it is confirmed, a subscription has no ARN.
        return any(row["SubscriptionArn"].startswith("arn:") for row in found)
