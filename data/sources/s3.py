"""Amazon S3 and what speaks its language: `s3://bucket/folder/` or `s3://bucket/file.csv.gz`.

Credentials, region and another endpoint (MinIO, Ceph, …) come from the environment: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL. `?anonymous=true` needs none,
`s3://${KEY}:${SECRET}@bucket/folder/` takes them from variables of other names, and
`?endpoint=http://minio:9000&region=eu-west-1` says the other two where they differ from the environment's.
"""

import os
from urllib.parse import parse_qs, unquote

from evergreen.data.sources._remote import TIMEOUT, ArrowStore, RemoteSource, RemoteStore


class S3Source(RemoteSource):
    def disk(self) -> RemoteStore:
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

        place, _, query_string = self.name.removeprefix("//").partition("?")
        login, _, path = place.rpartition("@") if "@" in place.partition("/")[0] else ("", "", place)
        key, _, secret = (unquote(part) for part in login.partition(":"))
        options = {name: values[-1] for name, values in parse_qs(query_string).items()}
        environment, is_anonymous = os.environ.get, options.get("anonymous") == "true"
        endpoint = options.get("endpoint") or environment("AWS_ENDPOINT_URL_S3") or environment("AWS_ENDPOINT_URL")
        region = options.get("region") or environment("AWS_REGION") or environment("AWS_DEFAULT_REGION")
        system = S3FileSystem(
            **({"access_key": key, "secret_key": secret} if login else {"anonymous": is_anonymous}),
            region=region or ("us-east-1" if endpoint else None),
            endpoint_override=endpoint,
            allow_delayed_open=True,  # a small file is one request
            connect_timeout=TIMEOUT,
            request_timeout=TIMEOUT,
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=3),
        )
        return ArrowStore(system, path)
