-- Queries that try to leave the engine, one a line, by kind. What stands in braces is put in by
-- the test: {secret} is a file outside with a canary in it, {out} a folder outside, {data} the
-- data directory, {port} a port on loopback that somebody listens on, {socket} a Unix socket,
-- {pid} a process with a canary in its environment. A line that begins with ? has URL parameters
-- in front of the query. {n} is the number of the line.

-- kind: read
SELECT * FROM file('{secret}', 'LineAsString')
SELECT * FROM file('{secret}')
SELECT * FROM file('{secret}', 'CSV', 'a Int32, b String')
SELECT * FROM file('{secret}', 'RawBLOB')
SELECT * FROM file('{secret}', 'One')
SELECT * FROM file('../../../../../../../..{secret}', 'LineAsString')
SELECT * FROM file('/proc/self/root{secret}', 'LineAsString')
SELECT * FROM file('/proc/self/cwd/../../../../../../../..{secret}', 'LineAsString')
SELECT * FROM file('{out}/*.csv', 'LineAsString')
SELECT * FROM file('{out}/{secret,other}.csv', 'LineAsString')
SELECT * FROM file('{out}/**', 'LineAsString')
SELECT _path, _file FROM file('{out}/*', 'LineAsString')
SELECT _size, _time FROM file('{secret}', 'LineAsString')
SELECT * FROM file('{out}/archive.tar :: inner.csv', 'LineAsString')
SELECT * FROM filesystem('{out}')
SELECT content FROM filesystem('{secret}')
SELECT file('{secret}')
SELECT file(materialize('{secret}'))
SELECT file('{secret}', 'nothing')
SELECT arrayMap(x -> file(x), ['{secret}'])
SELECT * APPLY(file) FROM (SELECT '{secret}')
SELECT * APPLY(x -> file(x)) FROM (SELECT '{secret}')
SELECT COLUMNS('a') APPLY file FROM (SELECT '{secret}' AS a)
SELECT * FROM format(Values, 'a String', $$(file('{secret}'))$$)
SELECT * FROM format(Values, '(file(''{secret}''))')
SELECT * FROM format(Values, 'a String', concat('(fi', 'le(''{secret}''))'))
SELECT * FROM format(CustomSeparated, 'a String', $$file('{secret}')$$)
SELECT * FROM values('a String', file('{secret}'))
SELECT transform(1, [1], [file('{secret}')])
SELECT if(1, file('{secret}'), '')
WITH file('{secret}') AS x SELECT x
SELECT 1 WHERE file('{secret}') LIKE '%canary%'
SELECT 1 ORDER BY file('{secret}')
SELECT * FROM numbers(1) WHERE position(file('{secret}'), 'canary') > 0
SELECT fuzzBits(file('{secret}'), 0)
SELECT * FROM default.`{secret}`
SELECT * FROM "{secret}"
SELECT * FROM `{secret}`
SELECT * FROM system.one, default.`{secret}`
SELECT * FROM system.one CROSS JOIN default.`{secret}`
SELECT * FROM system.one AS a JOIN default.`{secret}` AS b ON 1
SELECT * FROM default.`{out}/*.csv`
SELECT * FROM default.`{out}/secret.{csv,tsv}`
SELECT 1 IN default.`{secret}`
SELECT * FROM merge('default', '.*secret.*')
SELECT * FROM merge(REGEXP('.*'), '.*secret.*')
DESCRIBE TABLE file('{secret}')
DESCRIBE TABLE default.`{secret}`
DESC file('{secret}', 'CSV')
EXISTS TABLE default.`{secret}`
SHOW CREATE TABLE default.`{secret}`
EXPLAIN SELECT * FROM file('{secret}', 'LineAsString')
EXPLAIN ESTIMATE SELECT * FROM file('{secret}', 'LineAsString')
EXPLAIN TABLE OVERRIDE file('{secret}')
SELECT * FROM {t:Identifier}
?param_t={secret}	SELECT * FROM {t:Identifier}
?param_t={secret}	SELECT * FROM default.{t:Identifier}
?param_f={secret}	SELECT * FROM file({f:String}, 'LineAsString')
?param_f={secret}	SELECT file({f:String})
?database={out}	SELECT * FROM `secret.csv`
?format_schema={secret}	SELECT 1 FORMAT Protobuf
?format_schema={secret}:Message	SELECT * FROM format(Protobuf, 'x')
?format_schema_source=file&format_schema={secret}:M	SELECT 1 AS a FORMAT CapnProto
?format_template_row={secret}	SELECT 1 FORMAT Template
?format_template_resultset={secret}	SELECT 1 FORMAT Template
?format_template_row_format=x&format_template_resultset={secret}	SELECT 1 FORMAT Template
SELECT 1 FORMAT Template SETTINGS format_template_row = '{secret}'
SELECT 1 AS a FORMAT Protobuf SETTINGS format_schema = '{secret}:M'
SELECT 1 AS a FORMAT CapnProto SETTINGS format_schema = '{secret}:M'
SELECT * FROM format(Protobuf, 'x') SETTINGS format_schema = '{secret}:M'
SELECT * FROM format(MsgPack, 'x') SETTINGS format_schema = '{secret}'
SELECT * FROM file('{data}/status', 'CSV', 'a String') SETTINGS format_avro_schema_registry_url = 'file://{secret}'
SELECT catboostEvaluate('{secret}', 1.0)
SELECT * FROM sqlite('{out}/base.sqlite', 't')
SELECT * FROM mergeTreeIndex('default', '{secret}')
SELECT * FROM url('file://{secret}', 'LineAsString')
SELECT * FROM url('file:///{secret}', 'LineAsString', 'a String')
SELECT * FROM iceberg('{out}')
SELECT * FROM icebergLocal('{out}')
SELECT * FROM deltaLakeLocal('{out}')
SELECT * FROM hudi('{out}')
SELECT * FROM paimonLocal('{out}')
SELECT dictGet('file', 'a', 1)
CREATE TABLE d.escape{n} (a String) ENGINE = File(LineAsString, '{secret}')
CREATE TABLE d.escape{n} AS file('{secret}', 'LineAsString')
CREATE TABLE d.escape{n} ENGINE = MergeTree ORDER BY () AS SELECT * FROM file('{secret}', 'LineAsString')
CREATE VIEW d.escape{n} AS SELECT * FROM file('{secret}', 'LineAsString')
CREATE VIEW d.escape{n} AS SELECT * FROM default.`{secret}`
CREATE TABLE d.escape{n} (a String) ENGINE = Merge('default', '{secret}')
CREATE TABLE d.escape{n} (a String) ENGINE = Log SETTINGS disk = disk(type = local, path = '{out}/')
CREATE TABLE d.escape{n} (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{out}/disk/')
CREATE DATABASE escape{n} ENGINE = Filesystem('{out}')
CREATE DATABASE escape{n} ENGINE = Overlay('default')
CREATE DATABASE escape{n} ENGINE = SQLite('{out}/base.sqlite')
CREATE DATABASE escape{n} ENGINE = Backup('d', File('{out}/backup'))
CREATE DICTIONARY d.escape{n} (id UInt64, a String) PRIMARY KEY id SOURCE(FILE(PATH '{secret}' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)
ATTACH TABLE d.escape{n} FROM '{out}' (a String) ENGINE = MergeTree ORDER BY a
ATTACH DATABASE escape{n} ENGINE = Atomic
INSERT INTO d.lines SELECT * FROM file('{secret}', 'LineAsString')
INSERT INTO d.lines FROM INFILE '{secret}' FORMAT LineAsString
INSERT INTO d.lines FROM INFILE '{out}/*.csv' FORMAT LineAsString
INSERT INTO d.lines FROM INFILE '/proc/self/root{secret}' FORMAT LineAsString
INSERT INTO d.lines VALUES (file('{secret}'))
INSERT INTO d.lines SELECT file('{secret}')
INSERT INTO d.lines SELECT * FROM default.`{secret}`
RESTORE TABLE d.t AS d.escape{n} FROM File('{out}/backup')
RESTORE ALL FROM Disk('default', '{out}')
SYSTEM RELOAD CONFIG

-- kind: write
SELECT 1 INTO OUTFILE '{out}/escape{n}.csv'
SELECT 1 INTO OUTFILE '{out}/escape{n}.csv' FORMAT CSV
SELECT 1 INTO OUTFILE '{out}/escape{n}.csv.gz' COMPRESSION 'gzip' FORMAT CSV
SELECT 1 INTO OUTFILE '{secret}' APPEND FORMAT CSV
SELECT 1 INTO OUTFILE '{secret}' TRUNCATE FORMAT CSV
SELECT 1 INTO OUTFILE '{out}/escape{n}.csv' AND STDOUT FORMAT CSV
SELECT 1 INTO /* a comment */ OUTFILE '{out}/escape{n}.csv'
SELECT 1 into outfile '/proc/self/root{out}/escape{n}.csv'
SELECT 1 INTO OUTFILE '../../../../../../../..{out}/escape{n}.csv'
SELECT 1 INTO OUTFILE '{data}/../escape{n}.csv'
SELECT 1 INTO OUTFILE '{data}/escape{n}.csv'
SELECT 1 INTO OUTFILE '/dev/shm/escape{n}.csv'
(SELECT 1) INTO OUTFILE '{out}/escape{n}.csv'
SELECT 1 UNION ALL SELECT 2 INTO OUTFILE '{out}/escape{n}.csv'
EXPLAIN SELECT 1 INTO OUTFILE '{out}/escape{n}.csv'
SHOW TABLES FROM d INTO OUTFILE '{out}/escape{n}.csv'
DESCRIBE TABLE d.t INTO OUTFILE '{out}/escape{n}.csv'
SELECT 1 AS a FORMAT Protobuf SETTINGS output_format_schema = '{out}/escape{n}.proto'
SELECT 1 AS a FORMAT CapnProto SETTINGS output_format_schema = '{out}/escape{n}.capnp', format_capn_proto_use_autogenerated_schema = 1
SELECT 1 AS `$(touch {out}/escape{n})` FORMAT Protobuf SETTINGS output_format_schema = '{out}/escape{n}.sh'
SELECT 1 AS a FORMAT Protobuf SETTINGS output_format_schema = '{data}/escape{n}.proto'
?output_format_schema={out}/escape{n}.proto	SELECT 1 AS a FORMAT Protobuf
?output_format_schema={out}/escape{n}	SELECT 1 AS a FORMAT ProtobufSingle
?output_format_schema={data}/escape{n}.proto	SELECT 1 AS a FORMAT Protobuf
?output_format_schema={secret}	SELECT 1 AS a FORMAT CapnProto
INSERT INTO FUNCTION file('{out}/escape{n}.csv', 'CSV', 'a Int32') VALUES (1)
INSERT INTO FUNCTION file('{out}/escape{n}.csv', 'CSV', 'a Int32') SELECT 1
INSERT INTO TABLE FUNCTION file('{secret}', 'CSV', 'a Int32') SELECT 1
INSERT INTO FUNCTION file('{out}/escape{n}_{_partition_id}.csv', 'CSV', 'a Int32') PARTITION BY a SELECT 1
INSERT INTO FUNCTION file('{secret}', 'CSV', 'a Int32') SELECT 1 SETTINGS engine_file_truncate_on_insert = 1
INSERT INTO FUNCTION file('{data}/../escape{n}.csv', 'CSV', 'a Int32') SELECT 1
INSERT INTO FUNCTION sqlite('{out}/escape{n}.sqlite', 't') SELECT 1
INSERT INTO default.`{out}/escape{n}.csv` SELECT 1
INSERT INTO default.`{secret}` SELECT 'x'
TRUNCATE TABLE default.`{secret}`
TRUNCATE TABLE `{secret}`
DROP TABLE default.`{secret}`
RENAME TABLE default.`{secret}` TO default.`{out}/escape{n}`
ALTER TABLE default.`{secret}` DELETE WHERE 1
OPTIMIZE TABLE default.`{secret}` FINAL
CREATE TABLE d.escape{n} (a Int32) ENGINE = File(CSV, '{out}/escape{n}.csv')
CREATE TABLE d.escape{n} (a Int32) ENGINE = Log SETTINGS disk = disk(type = local, path = '{out}/escape{n}/')
CREATE TABLE d.escape{n} (a Int32) ENGINE = SQLite('{out}/escape{n}.sqlite', 't')
CREATE TABLE d.escape{n} (k String, v String) ENGINE = EmbeddedRocksDB(0, '{out}/escape{n}') PRIMARY KEY k
CREATE DATABASE escape{n} ENGINE = SQLite('{out}/escape{n}.sqlite')
BACKUP TABLE d.t TO File('{out}/escape{n}')
BACKUP TABLE d.t TO Disk('default', '{out}/escape{n}')
BACKUP DATABASE d TO File('{out}/escape{n}.zip')
ALTER TABLE d.t FREEZE WITH NAME '../../../..{out}/escape{n}'
EXPORT TABLE d.t TO '{out}/escape{n}'
SET output_format_schema = '{out}/escape{n}.proto'; SELECT 1 AS a FORMAT Protobuf
SELECT 1; SELECT 1 INTO OUTFILE '{out}/escape{n}.csv'
SET format_schema = '{secret}'
SET send_logs_level = 'trace', send_logs_source_regexp = '.*'; SELECT 1
CREATE FUNCTION escape{n} AS () -> file('{secret}')
SYSTEM UNFREEZE WITH NAME '../../..{out}'

-- kind: host
SELECT * FROM url('http://127.0.0.1:{port}/', 'LineAsString', 'a String')
SELECT * FROM url('http://localhost:{port}/', CSV, 'a String')
SELECT * FROM url('http://[::1]:{port}/', CSV, 'a String')
SELECT * FROM url('http://127.0.0.1:{port}/{a,b}', CSV, 'a String')
SELECT * FROM url('https://127.0.0.1:{port}/', CSV, 'a String')
SELECT * FROM urlCluster('c', 'http://127.0.0.1:{port}/', CSV, 'a String')
SELECT * FROM s3('http://127.0.0.1:{port}/b/k', 'CSV', 'a String')
SELECT * FROM s3('http://127.0.0.1:{port}/b/k', NOSIGN, 'CSV', 'a String')
SELECT * FROM gcs('http://127.0.0.1:{port}/b/k', NOSIGN, 'CSV', 'a String')
SELECT * FROM azureBlobStorage('DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;BlobEndpoint=http://127.0.0.1:{port}/a;', 'c', 'b', 'CSV', 'auto', 'a String')
SELECT * FROM hdfs('hdfs://127.0.0.1:{port}/x', 'CSV', 'a String')
SELECT * FROM remote('127.0.0.1:{port}', 'system', 'one')
SELECT * FROM remote('127.0.0.1:{port}', system.one)
SELECT * FROM remoteSecure('127.0.0.1:{port}', 'system', 'one')
SELECT * FROM remote('127.0.0.{1..2}:{port}', 'system', 'one')
SELECT * FROM remote('127.0.0.1:{port}', view(SELECT 1))
SELECT * FROM cluster('default', 'system', 'one')
SELECT * FROM clusterAllReplicas('default', 'system', 'one')
SELECT * FROM mysql('127.0.0.1:{port}', 'd', 't', 'u', 'p')
SELECT * FROM postgresql('127.0.0.1:{port}', 'd', 't', 'u', 'p')
SELECT * FROM mongodb('127.0.0.1:{port}', 'd', 't', 'u', 'p', 'a String')
SELECT * FROM redis('127.0.0.1:{port}', 'k', 'k String, v String')
SELECT * FROM arrowflight('127.0.0.1:{port}', 'd')
SELECT * FROM ytsaurus('http://127.0.0.1:{port}', '//t', 'x', 'a String')
SELECT * FROM iceberg('http://127.0.0.1:{port}/b/t')
SELECT * FROM deltaLake('http://127.0.0.1:{port}/b/t', 'a', 'b')
SELECT * FROM hudi('http://127.0.0.1:{port}/b/t')
SELECT hasColumnInTable('127.0.0.1:{port}', 'system', 'one', 'dummy')
SELECT hasColumnInTable('127.0.0.1:{port}', 'u', 'p', 'system', 'one', 'dummy')
SELECT * APPLY(x -> hasColumnInTable('127.0.0.1:{port}', 'system', 'one', 'dummy')) FROM (SELECT 1)
SELECT * FROM url('http://127.0.0.1:{port}/', headers('a' = 'b'), 'CSV', 'a String')
SELECT * FROM format(Values, 'a UInt8', $$(hasColumnInTable('127.0.0.1:{port}', 'system', 'one', 'dummy'))$$)
SELECT * FROM format(Avro, 'x') SETTINGS format_avro_schema_registry_url = 'http://127.0.0.1:{port}/'
SELECT * FROM format(AvroConfluent, unhex('0000000001')) SETTINGS format_avro_schema_registry_url = 'http://127.0.0.1:{port}/'
?format_avro_schema_registry_url=http://127.0.0.1:{port}/	SELECT * FROM format(AvroConfluent, 'a String', unhex('000000000102'))
?format_avro_schema_registry_url=http://127.0.0.1:{port}/	SELECT 1 AS a FORMAT AvroConfluent
SELECT 1 AS a FORMAT AvroConfluent SETTINGS output_format_avro_confluent_subject = 's', format_avro_schema_registry_url = 'http://127.0.0.1:{port}/'
SELECT * FROM fileCluster('default', '{secret}', 'LineAsString')
SELECT aiGenerateContent('x')
INSERT INTO FUNCTION url('http://127.0.0.1:{port}/', CSV, 'a Int32') SELECT 1
INSERT INTO FUNCTION s3('http://127.0.0.1:{port}/b/k', NOSIGN, 'CSV', 'a Int32') SELECT 1
INSERT INTO FUNCTION remote('127.0.0.1:{port}', 'd', 't') SELECT 1
INSERT INTO FUNCTION mysql('127.0.0.1:{port}', 'd', 't', 'u', 'p') SELECT 1
CREATE TABLE d.escape{n} (a String) ENGINE = URL('http://127.0.0.1:{port}/', CSV)
CREATE TABLE d.escape{n} (a String) ENGINE = S3('http://127.0.0.1:{port}/b/k', NOSIGN, 'CSV')
CREATE TABLE d.escape{n} (a String) ENGINE = Kafka('127.0.0.1:{port}', 't', 'g', 'CSV')
CREATE TABLE d.escape{n} (a String) ENGINE = RabbitMQ SETTINGS rabbitmq_host_port = '127.0.0.1:{port}', rabbitmq_exchange_name = 'e', rabbitmq_format = 'CSV'
CREATE TABLE d.escape{n} (a String) ENGINE = NATS SETTINGS nats_url = '127.0.0.1:{port}', nats_subjects = 's', nats_format = 'CSV'
CREATE TABLE d.escape{n} (a String) ENGINE = MySQL('127.0.0.1:{port}', 'd', 't', 'u', 'p')
CREATE TABLE d.escape{n} (a String) ENGINE = PostgreSQL('127.0.0.1:{port}', 'd', 't', 'u', 'p')
CREATE TABLE d.escape{n} (a String) ENGINE = Distributed('default', 'd', 't')
CREATE TABLE d.escape{n} (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = s3, endpoint = 'http://127.0.0.1:{port}/b/', access_key_id = 'a', secret_access_key = 'b')
CREATE TABLE d.escape{n} (a String) ENGINE = ReplicatedMergeTree('/a', 'b') ORDER BY a
CREATE DATABASE escape{n} ENGINE = MySQL('127.0.0.1:{port}', 'd', 'u', 'p')
CREATE DATABASE escape{n} ENGINE = PostgreSQL('127.0.0.1:{port}', 'd', 'u', 'p')
CREATE DATABASE escape{n} ENGINE = MaterializedPostgreSQL('127.0.0.1:{port}', 'd', 'u', 'p')
CREATE DATABASE escape{n} ENGINE = S3('http://127.0.0.1:{port}/b', 'NOSIGN')
CREATE DATABASE escape{n} ENGINE = Replicated('/a', 'b', 'c')
CREATE DATABASE escape{n} ENGINE = DataLakeCatalog('http://127.0.0.1:{port}/') SETTINGS catalog_type = 'rest', warehouse = 'w'
CREATE DICTIONARY d.escape{n} (id UInt64, a String) PRIMARY KEY id SOURCE(HTTP(URL 'http://127.0.0.1:{port}/' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)
CREATE DICTIONARY d.escape{n} (id UInt64, a String) PRIMARY KEY id SOURCE(CLICKHOUSE(HOST '127.0.0.1' PORT {port} TABLE 'one' DB 'system')) LAYOUT(FLAT()) LIFETIME(0)
CREATE DICTIONARY d.escape{n} (id UInt64, a String) PRIMARY KEY id SOURCE(REDIS(HOST '127.0.0.1' PORT {port})) LAYOUT(FLAT()) LIFETIME(0)
BACKUP TABLE d.t TO S3('http://127.0.0.1:{port}/b/k', 'a', 'b')
RESTORE TABLE d.t FROM S3('http://127.0.0.1:{port}/b/k', 'a', 'b')
CREATE NAMED COLLECTION escape{n} AS url = 'http://127.0.0.1:{port}/'
SYSTEM DROP DNS CACHE
SYSTEM FLUSH DISTRIBUTED d.t
SYSTEM RESTORE REPLICA d.t

-- kind: process
SELECT 'touch {out}/escaped-by-script' INTO OUTFILE '{data}/user_scripts/escape.sh' TRUNCATE FORMAT TSVRaw
INSERT INTO FUNCTION file('{data}/user_scripts/escape2.sh', 'RawBLOB', 'a String') SELECT 'touch {out}/escaped-by-script'
SELECT * FROM executable('escape.sh', 'TSV', 'a String')
SELECT * FROM executable('../escape.sh', 'TSV', 'a String')
SELECT * FROM executable('{out}/escape.sh', 'TSV', 'a String')
SELECT * FROM executable('../../../../../../..{out}/escape.sh', 'TSV', 'a String', (SELECT 1))
SELECT * FROM executable('sh -c {out}/escape.sh', 'TSV', 'a String') SETTINGS stderr_reaction = 'throw'
CREATE TABLE d.escape{n} (a String) ENGINE = Executable('escape.sh', 'TSV')
CREATE TABLE d.escape{n} (a String) ENGINE = ExecutablePool('{out}/escape.sh', 'TSV')
CREATE DICTIONARY d.escape{n} (id UInt64, a String) PRIMARY KEY id SOURCE(EXECUTABLE(COMMAND '{out}/escape.sh' FORMAT 'TSV')) LAYOUT(FLAT()) LIFETIME(0)
CREATE DICTIONARY d.escape{n} (id UInt64, a String) PRIMARY KEY id SOURCE(LIBRARY(PATH '{out}/escape.so')) LAYOUT(FLAT()) LIFETIME(0)
CREATE FUNCTION escape{n} AS (x) -> executable('{out}/escape.sh', x)
SELECT * FROM python('escape')
SELECT * FROM python('import os')
SELECT catboostEvaluate('{out}/escape.so', 1)
SELECT * FROM file('| {out}/escape.sh', 'TSV', 'a String')
SELECT * FROM file('/proc/{pid}/mem', 'RawBLOB')
SELECT * FROM file('/proc/{pid}/cmdline', 'RawBLOB')
SELECT * FROM file('/proc/{pid}/maps', 'LineAsString')
SELECT * FROM file('/proc/{pid}/fd/0', 'RawBLOB')
SELECT * FROM file('/proc/*/cmdline', 'RawBLOB')
INSERT INTO FUNCTION file('/proc/{pid}/mem', 'RawBLOB', 'a String') SELECT 'x'
INSERT INTO FUNCTION file('/proc/{pid}/oom_score_adj', 'RawBLOB', 'a String') SELECT '1000'
INSERT INTO FUNCTION file('/proc/self/mem', 'RawBLOB', 'a String') SELECT 'x'
INSERT INTO FUNCTION file('{socket}', 'RawBLOB', 'a String') SELECT 'x'
INSERT INTO FUNCTION file('/proc/sys/kernel/core_pattern', 'RawBLOB', 'a String') SELECT '|{out}/escape.sh'
SELECT * FROM system.stack_trace
SYSTEM START LISTEN TCP
SYSTEM STOP LISTEN HTTP

-- kind: environment
SELECT * FROM file('/proc/self/environ', 'RawBLOB')
SELECT * FROM file('/proc/{pid}/environ', 'RawBLOB')
SELECT file('/proc/{pid}/environ')
SELECT * APPLY(file) FROM (SELECT '/proc/{pid}/environ')
SELECT * FROM default.`/proc/{pid}/environ`
SELECT * FROM file('/proc/{pid}/task/{pid}/environ', 'RawBLOB')
SELECT * FROM file('/proc/self/task/*/environ', 'RawBLOB')
SELECT * FROM file('/proc/self/status', 'LineAsString')
SELECT * FROM file('/etc/shadow', 'LineAsString')
SELECT * FROM file('/etc/passwd', 'LineAsString')
SELECT * FROM file('/root/.ssh/*', 'LineAsString')
SELECT * FROM file('/etc/machine-id', 'LineAsString')
SELECT * FROM system.server_settings WHERE value LIKE '%canary%'
SELECT * FROM system.users
SELECT * FROM system.named_collections
SELECT getMacro('canary')
SELECT currentUser(), hostName(), getOSKernelVersion()
INSERT INTO d.lines FROM INFILE '/proc/{pid}/environ' FORMAT RawBLOB

-- kind: table
INSERT INTO d.t VALUES (9)
INSERT INTO d.t SELECT 9
INSERT INTO FUNCTION null('a Int32') SELECT 1
WITH 9 AS x INSERT INTO d.t SELECT x
DROP TABLE d.t
DROP DATABASE d
DETACH TABLE d.t PERMANENTLY
TRUNCATE TABLE d.t
TRUNCATE ALL TABLES FROM d
RENAME TABLE d.t TO d.gone
EXCHANGE TABLES d.t AND d.lines
OPTIMIZE TABLE d.t FINAL
ALTER TABLE d.t DELETE WHERE 1
ALTER TABLE d.t UPDATE a = 9 WHERE 1
ALTER TABLE d.t DROP COLUMN a
ALTER TABLE d.t ADD COLUMN b Int32
ALTER TABLE d.t DROP PARTITION tuple()
ALTER TABLE d.t FREEZE
DELETE FROM d.t WHERE 1
UPDATE d.t SET a = 9 WHERE 1
UNDROP TABLE d.t
CREATE TABLE d.escape{n} (a Int32) ENGINE = Memory
CREATE TEMPORARY TABLE escape{n} (a Int32)
CREATE VIEW d.escape{n} AS SELECT 1
CREATE MATERIALIZED VIEW d.escape{n} ENGINE = Memory AS SELECT * FROM d.t
CREATE DATABASE escape{n}
CREATE USER escape{n}
CREATE ROLE escape{n}
CREATE FUNCTION escape{n} AS x -> x + 1
GRANT ALL ON *.* TO default
KILL QUERY WHERE 1
KILL MUTATION WHERE 1
SYSTEM SHUTDOWN
SYSTEM KILL
SYSTEM STOP MERGES
SYSTEM FLUSH LOGS
SYSTEM DROP MARK CACHE
CHECK TABLE d.t
SET readonly = 0
SET readonly = 0; DROP TABLE d.t
SET ROLE NONE
USE system
SELECT 1; DROP TABLE d.t
SELECT 1 SETTINGS readonly = 0
SELECT 1 SETTINGS max_execution_time = 0
SELECT * FROM (SELECT 1 SETTINGS readonly = 0)
SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 0)
SELECT (SELECT 1 SETTINGS max_execution_time = 0)
?readonly=0	DROP TABLE d.t
?readonly=2	SELECT 1
?allow_ddl=1	DROP TABLE d.t
?max_execution_time=0	SELECT 1
BEGIN TRANSACTION
COMMIT
