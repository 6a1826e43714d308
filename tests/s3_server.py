"""An S3 server, as `python s3_server.py HOST PORT BUCKET EVERY`, whose every so manieth request fails."""

import logging
import socket
import sys
import threading
from itertools import count

REGION, KEYS = "us-east-1", {"aws_access_key_id": "ada", "aws_secret_access_key": "x"}


def start(host: str, port: int, bucket: str, every: int = 0):
    """Start it in this process; return its address, the list of what it was asked, and what stops it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=host, port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address, asked, numbers, whole = f"http://{host}:{port}", [], count(1), server._server.app
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    boto3.client("s3", region_name=REGION, endpoint_url=address, **KEYS).create_bucket(Bucket=bucket)
    one_at_a_time = threading.Lock()

    def failing(environment, answer):
        asked.append(f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}")
        number = next(numbers)
        if every and number % every == 0:
            if number % (2 * every) == 0:
                environment["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionResetError
            answer("503 Slow Down", [("Content-Length", "0"), ("Connection", "close")])
            return [b""]
        with one_at_a_time:
            return whole(environment, answer)

    server._server.app = failing
    return address, asked, server.stop


if __name__ == "__main__":
    print(*start(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))[:1], flush=True)
    threading.Event().wait()
