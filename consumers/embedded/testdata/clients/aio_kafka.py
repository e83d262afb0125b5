import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from common import BOOTSTRAP, GROUP, RECORDS, REQUESTS, TOPICS, requests, show


async def main():
    consumer = AIOKafkaConsumer(
        *TOPICS, bootstrap_servers=BOOTSTRAP, group_id=GROUP, auto_offset_reset="earliest", enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    for _ in range(RECORDS):
        m = await asyncio.wait_for(consumer.getone(), 20)
        show(m.topic, m.partition, m.offset, m.key, m.value, m.headers)
    await consumer.commit()
    await consumer.stop()

    for run, config in {"default": {}, "gzip": {"compression_type": "gzip", "enable_idempotence": True}}.items():
        producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **config)
        await producer.start()
        for key, value, headers in requests(run):
            await producer.send(REQUESTS, key=key, value=value, headers=headers)
        await producer.stop()

    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    await admin.create_topics([NewTopic("aiokafka", 2, 1, topic_configs={"retention.ms": "1000"})])
    assert "aiokafka" in await admin.list_topics()
    assert GROUP in [g[0] for g in await admin.list_consumer_groups()]
    assert await admin.describe_consumer_groups([GROUP])
    assert await admin.list_consumer_group_offsets(GROUP)
    await admin.delete_topics(["aiokafka"])
    await admin.close()


asyncio.run(main())
