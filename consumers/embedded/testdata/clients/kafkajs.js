// kafkajs is found by NODE_PATH.
const assert = require('assert')
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const [bootstrap, topics, count, group, requests] = process.argv.slice(2)
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.WARN })
const text = (b) => (b === null || b === undefined ? null : b.toString())

async function consume() {
  const consumer = kafka.consumer({ groupId: group, readUncommitted: false, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: topics.split(','), fromBeginning: true })
  let left = Number(count)
  const next = {}
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${left} records are missing`)), 30000).unref()
    consumer.on(consumer.events.CRASH, (e) => reject(e.payload.error))
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ topic, partition, message }) => {
        const headers = Object.entries(message.headers).flatMap(([k, v]) => [v].flat().map((one) => [k, text(one)]))
        console.log(JSON.stringify({
          topic, partition, offset: Number(message.offset), key: text(message.key), value: text(message.value), headers: headers.sort(),
        }))
        next[`${topic} ${partition}`] = { topic, partition, offset: String(Number(message.offset) + 1) }
        if (--left === 0) resolve()
      },
    })
  })
  await consumer.commitOffsets(Object.values(next))
  await consumer.disconnect()
}

async function produce(run, options, compression) {
  const producer = kafka.producer(options)
  await producer.connect()
  const messages = Array.from({ length: 10 }, (_, i) => (
    { key: `${run}-${i}`, value: JSON.stringify({ x: i }), headers: { 'request-id': `${run}-${i}` } }))
  await producer.send({ topic: requests, messages, compression })
  await producer.disconnect()
}

async function administer() {
  const admin = kafka.admin()
  await admin.connect()
  assert(await admin.createTopics({ topics: [{ topic: 'kafkajs', numPartitions: 2, configEntries: [{ name: 'retention.ms', value: '1000' }] }] }))
  assert.equal((await admin.fetchTopicMetadata({ topics: ['kafkajs'] })).topics[0].partitions.length, 2)
  const { resources } = await admin.describeConfigs({ resources: [{ type: 2, name: 'kafkajs', configNames: [] }], includeSynonyms: true })
  assert.equal(resources.length, 1)
  assert((await admin.listGroups()).groups.some((g) => g.groupId === group))
  assert.equal((await admin.describeGroups([group])).groups[0].groupId, group)
  assert((await admin.fetchOffsets({ groupId: group })).length > 0)
  assert.equal((await admin.describeCluster()).brokers.length, 1)
  await admin.deleteTopics({ topics: ['kafkajs'] })
  await admin.disconnect()
}

async function main() {
  await consume()
  await produce('default', { }, undefined)
  await produce('gzip', { idempotent: true }, CompressionTypes.GZIP)
  await administer()
}

main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1) })
