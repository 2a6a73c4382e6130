"""Servers that several test files share; each is started when the first test asks for it."""

from __future__ import annotations

import logging
import os
import warnings

import pytest
from tests.services import PostgreSQL, s3_server


@pytest.fixture(scope="session")
def postgres():
    server = PostgreSQL()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def s3_endpoint():
    names = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with warnings.catch_warnings(), s3_server() as endpoint:
        yield endpoint
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture
def bucket(s3_endpoint, request):
    """Return a client and the name of an empty bucket."""
    import boto3

    client = boto3.client("s3", endpoint_url=s3_endpoint)
    name = f"bucket-{abs(hash(request.node.nodeid))}"
    client.create_bucket(Bucket=name)
    return client, name
