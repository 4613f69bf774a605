"""Which IAM actions an AWS call needs, and which calls only read.

Names as boto3 has them for services (`stepfunctions`), as the API has them for operations (`DescribeServices`).
Source of the exceptions: https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

import re

# boto3's service -> IAM's prefix, where they differ.
_PREFIXES = {
    "amp": "aps",
    "cloudsearchdomain": "cloudsearch",
    "dynamodbstreams": "dynamodb",
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "docdb": "rds",
    "efs": "elasticfilesystem",
    "emr": "elasticmapreduce",
    "iot-data": "iotdata",
    "neptune": "rds",
    "opensearch": "es",
    "resourcegroupstaggingapi": "tag",
    "s3control": "s3",
    "sagemaker-runtime": "sagemaker",
    "sesv2": "ses",
    "stepfunctions": "states",
}
# Operations that need another action than their own name, or more than one.
_ACTIONS = {
    ("lambda", "Invoke"): ("lambda:InvokeFunction",),
    ("lambda", "InvokeAsync"): ("lambda:InvokeFunction",),
    ("s3", "CompleteMultipartUpload"): ("s3:PutObject",),
    ("s3", "CopyObject"): ("s3:GetObject", "s3:PutObject"),
    ("s3", "CreateMultipartUpload"): ("s3:PutObject",),
    ("s3", "DeleteObjects"): ("s3:DeleteObject",),
    ("s3", "HeadBucket"): ("s3:ListBucket",),
    ("s3", "HeadObject"): ("s3:GetObject",),
    ("s3", "ListBuckets"): ("s3:ListAllMyBuckets",),
    ("s3", "ListMultipartUploads"): ("s3:ListBucketMultipartUploads",),
    ("s3", "ListObjects"): ("s3:ListBucket",),
    ("s3", "ListObjectsV2"): ("s3:ListBucket",),
    ("s3", "ListObjectVersions"): ("s3:ListBucketVersions",),
    ("s3", "ListParts"): ("s3:ListMultipartUploadParts",),
    ("s3", "UploadPart"): ("s3:PutObject",),
    ("scheduler", "CreateSchedule"): ("scheduler:CreateSchedule", "iam:PassRole"),
    ("scheduler", "UpdateSchedule"): ("scheduler:UpdateSchedule", "iam:PassRole"),
    ("sqs", "ChangeMessageVisibilityBatch"): ("sqs:ChangeMessageVisibility",),
    ("sqs", "DeleteMessageBatch"): ("sqs:DeleteMessage",),
    ("sqs", "SendMessageBatch"): ("sqs:SendMessage",),
    ("sqs", "StartMessageMoveTask"): (
        "sqs:StartMessageMoveTask",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
    ),
    ("dynamodb", "TransactGetItems"): ("dynamodb:GetItem",),
    ("dynamodb", "TransactWriteItems"): ("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"),
    ("sts", "GetCallerIdentity"): (),
}
_READING = re.compile(
    r"(BatchDescribe|BatchGet|Check|Describe|Estimate|Filter|Get|Head|List|Lookup|Query|Scan|Search|Select|Simulate"
    r"|TransactGet|Validate)"
)
# Reading by their effect, if not by their name.
_ALSO_READING = {
    ("cloudformation", "DetectStackDrift"),
    ("logs", "StartQuery"),
    ("logs", "StopQuery"),
    ("logs", "TestMetricFilter"),
    ("sts", "DecodeAuthorizationMessage"),
}
# Writing by their effect, if not by their name.
_STILL_WRITING = {
    ("stepfunctions", "GetActivityTask"),
    ("sts", "GetFederationToken"),
    ("sts", "GetSessionToken"),
}


def actions(service: str, operation: str) -> tuple[str, ...]:
    """IAM actions that a call needs."""
    return _ACTIONS.get((service, operation), (f"{_PREFIXES.get(service, service)}:{operation}",))


def is_reading(service: str, operation: str) -> bool:
    """Whether the call changes nothing; what is not known to be harmless is a write."""
    if (service, operation) in _STILL_WRITING:
        return False
    return (service, operation) in _ALSO_READING or _READING.match(operation) is not None
