from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from common import BOOTSTRAP, GROUP, RECORDS, REQUESTS, TOPICS, requests, show

consumer = KafkaConsumer(
    *TOPICS, bootstrap_servers=BOOTSTRAP, group_id=GROUP, auto_offset_reset="earliest", enable_auto_commit=False,
    isolation_level="read_committed", consumer_timeout_ms=20_000,
)
left = RECORDS
for m in consumer:
    show(m.topic, m.partition, m.offset, m.key, m.value, m.headers)
    left -= 1
    if left == 0:
        break
assert left == 0, "no more records"
consumer.commit()
consumer.close()

for run, config in {"default": {}, "gzip": {"compression_type": "gzip", "enable_idempotence": True}}.items():
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, **config)
    for sent in [producer.send(REQUESTS, key=key, value=value, headers=headers) for key, value, headers in requests(run)]:
        sent.get(20)
    producer.close()

admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
admin.create_topics([NewTopic("kafka-python", 2, 1, topic_configs={"retention.ms": "1000"})])
assert "kafka-python" in admin.list_topics()
assert GROUP in str(admin.list_groups())
assert admin.describe_groups([GROUP])
admin.delete_topics(["kafka-python"])
admin.close()
