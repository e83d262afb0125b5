// What ClickHouse's client for Node.js does with its defaults, against the embedded engine.
// Usage: node client.mjs HOST:PORT PASSWORD, in a folder with node_modules
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { Readable } from 'node:stream'

const { createClient } = createRequire(`${process.cwd()}/`)('@clickhouse/client')
const [addr, password] = process.argv.slice(2)
const client = createClient({ url: `http://${addr}`, username: 'default', password })
assert.equal((await client.ping()).success, true)
await client.command({ query: 'CREATE DATABASE node' })
await client.command({ query: 'CREATE TABLE node.t (n UInt32, s String) ENGINE = MergeTree ORDER BY n', clickhouse_settings: { wait_end_of_query: 1 } })
const inserted = await client.insert({ table: 'node.t', values: [{ n: 1, s: "it's" }, { n: 2, s: 'b' }], format: 'JSONEachRow' })
assert.equal(inserted.summary.written_rows, '2')
await client.insert({ table: 'node.t', values: Readable.from(['3,c\n', '4,d\n'], { objectMode: false }), format: 'CSV' })
const json = await (await client.query({ query: 'SELECT * FROM node.t WHERE n = {n:UInt32}', query_params: { n: 1 } })).json()
assert.deepEqual(json.data, [{ n: 1, s: "it's" }])
let rows = 0
const stream = (await client.query({ query: 'SELECT number, toString(number) FROM numbers(100000)', format: 'JSONCompactEachRow' })).stream()
for await (const chunk of stream) rows += chunk.length
assert.equal(rows, 100_000)
await assert.rejects(client.query({ query: 'SELECT * FROM nope' }), { code: '60', type: 'UNKNOWN_TABLE' })
const packed = createClient({ url: `http://${addr}`, username: 'default', password, database: 'node', compression: { request: true, response: true }, session_id: 'mine', clickhouse_settings: { max_threads: 2 } })
await packed.insert({ table: 't', values: [{ n: 5, s: 'e' }], format: 'JSONEachRow' })
assert.equal((await (await packed.query({ query: 'SELECT count() AS c FROM t', format: 'JSONEachRow' })).json())[0].c, 5)
const reader = createClient({ url: `http://${addr}`, compression: { response: true } })
assert.equal((await (await reader.query({ query: 'SELECT count() AS c FROM node.t', format: 'JSONEachRow' })).json())[0].c, 5)
await assert.rejects(reader.command({ query: 'DROP TABLE node.t' }), { code: '164' })
await client.command({ query: 'DROP DATABASE node' })
await Promise.all([client.close(), packed.close(), reader.close()])
console.log('ok')
