"""What the Python clients of the test share: their arguments, and the form of what they print."""

import json
import sys

BOOTSTRAP, TOPICS, RECORDS, GROUP, REQUESTS = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3]), sys.argv[4], sys.argv[5]


def text(b):
    return None if b is None else b.decode()


def show(topic, partition, offset, key, value, headers):
    print(json.dumps({
        "topic": topic, "partition": partition, "offset": offset, "key": text(key), "value": text(value),
        "headers": sorted([k, text(v)] for k, v in headers or []),
    }))


def requests(run):
    """Ten requests of a producer: key, value, headers."""
    for i in range(10):
        yield f"{run}-{i}".encode(), json.dumps({"x": i}).encode(), [("request-id", f"{run}-{i}".encode())]
