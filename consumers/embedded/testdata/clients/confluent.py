from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from common import BOOTSTRAP, GROUP, RECORDS, REQUESTS, TOPICS, requests, show

consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": GROUP, "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe(TOPICS)
for _ in range(RECORDS):
    m = consumer.poll(20)
    assert m is not None, "no more records"
    assert m.error() is None, m.error()
    show(m.topic(), m.partition(), m.offset(), m.key(), m.value(), m.headers())
consumer.commit(asynchronous=False)
consumer.close()


def produce(run, **config):
    failed = []
    producer = Producer({"bootstrap.servers": BOOTSTRAP, **config})
    for key, value, headers in requests(run):
        producer.produce(REQUESTS, key=key, value=value, headers=headers, on_delivery=lambda e, _: failed.append(e) if e else None)
    assert producer.flush(20) == 0 and not failed, failed


produce("default")
for codec in "gzip", "snappy", "lz4", "zstd":
    produce(codec, **{"compression.type": codec, "enable.idempotence": True})

admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
for made in admin.create_topics([NewTopic("confluent", 2, config={"retention.ms": "1000"})]).values():
    made.result(20)
assert len(admin.list_topics("confluent", timeout=20).topics["confluent"].partitions) == 2
for described in admin.describe_configs([ConfigResource("topic", "confluent")]).values():
    assert described.result(20)["retention.ms"].value == "1000"
assert GROUP in [g.group_id for g in admin.list_consumer_groups().result(20).valid]
assert admin.describe_consumer_groups([GROUP])[GROUP].result(20).group_id == GROUP
assert admin.describe_cluster().result(20).cluster_id == "millrace-embedded"
for deleted in admin.delete_topics(["confluent"]).values():
    deleted.result(20)
