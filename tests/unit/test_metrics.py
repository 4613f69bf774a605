"""Values of CloudWatch's metrics, of many things at once."""

import datetime as dt

import boto3
from moto import mock_aws

from tests.machines.stack import REGION
from watchfloor.clients.metrics import Metrics

METRICS = {"calls": ("Invocations", "Sum"), "errors": ("Errors", "Sum"), "longest": ("Duration", "Maximum")}


@mock_aws
def test_metrics_of_more_things_than_one_request_takes_each_find_their_own():
    cloudwatch = boto3.client("cloudwatch", region_name=REGION)
    end = dt.datetime.now(dt.UTC)
    names = [f"f{number}" for number in range(170)]
    for name, minutes, value in (("f0", 2, 3.0), ("f0", 9, 5.0), ("f169", 2, 7.0)):
        data = {"MetricName": "Errors", "Dimensions": [{"Name": "FunctionName", "Value": name}], "Value": value}
        data["Timestamp"] = end - dt.timedelta(minutes=minutes)
        cloudwatch.put_metric_data(Namespace="AWS/Lambda", MetricData=[data])
    found = Metrics(cloudwatch, "AWS/Lambda", "FunctionName").values(
        names, METRICS, end - dt.timedelta(hours=1), end, period_seconds=60
    )
    assert list(found) == names
    # The latest first.
    assert found["f0"] == {"calls": [], "errors": [3.0, 5.0], "longest": []}
    assert found["f169"]["errors"] == [7.0]


@mock_aws
def test_metrics_of_nothing_ask_for_nothing():
    cloudwatch = boto3.client("cloudwatch", region_name=REGION)
    now = dt.datetime.now(dt.UTC)
    assert Metrics(cloudwatch, "AWS/Lambda", "FunctionName").values([], METRICS, now, now, period_seconds=60) == {}
