CREATE TABLE IF NOT EXISTS millrace.observations_flights_delay
(
    `ok` Bool,
    `i32` Int32,
    `i64` Int64,
    `f32` Nullable(Float32) CODEC(ZSTD(1)),
    `f64` Float64 CODEC(ZSTD(1)),
    `text` String CODEC(ZSTD(1)),
    `origin` LowCardinality(String),
    `request_id` String CODEC(ZSTD(1)),
    `event_time` DateTime64(6, 'UTC') CODEC(DoubleDelta, LZ4),
    `request_topic_id` LowCardinality(String),
    `request_partition` Int32,
    `request_offset` Int64 CODEC(DoubleDelta, LZ4),
    `request_row` Int32,
    `score` Nullable(Float32) CODEC(ZSTD(1)),
    `label` Nullable(Int64),
    `said` Nullable(String) CODEC(ZSTD(1)),
    `version` LowCardinality(String),
    `variant` LowCardinality(String),
    `outcome` LowCardinality(String),
    `error_class` LowCardinality(String),
    `latency_us` Int64,
    `queue_us` Nullable(Int64),
    `scored_at` DateTime64(6, 'UTC') CODEC(DoubleDelta, LZ4),
    stored_at DateTime('UTC') MATERIALIZED now() COMMENT 'when this server stored the row; partitions and expiry follow it' CODEC(Delta, LZ4),
    INDEX by_offset request_offset TYPE minmax GRANULARITY 1,
    INDEX by_scored_at scored_at TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(stored_at)
ORDER BY (version, event_time)
TTL stored_at + INTERVAL 90 DAY
COMMENT 'One row per request that flights_delay was asked to score.';

ALTER TABLE millrace.observations_flights_delay ADD COLUMN IF NOT EXISTS `ok` Nullable(Bool), ADD COLUMN IF NOT EXISTS `i32` Nullable(Int32), ADD COLUMN IF NOT EXISTS `i64` Nullable(Int64), ADD COLUMN IF NOT EXISTS `f32` Nullable(Float32) CODEC(ZSTD(1)), ADD COLUMN IF NOT EXISTS `f64` Nullable(Float64) CODEC(ZSTD(1)), ADD COLUMN IF NOT EXISTS `text` Nullable(String) CODEC(ZSTD(1)), ADD COLUMN IF NOT EXISTS `origin` LowCardinality(Nullable(String)), ADD COLUMN IF NOT EXISTS `request_id` Nullable(String) CODEC(ZSTD(1)), ADD COLUMN IF NOT EXISTS `event_time` Nullable(DateTime64(6, 'UTC')) CODEC(DoubleDelta, LZ4), ADD COLUMN IF NOT EXISTS `request_topic_id` LowCardinality(Nullable(String)), ADD COLUMN IF NOT EXISTS `request_partition` Nullable(Int32), ADD COLUMN IF NOT EXISTS `request_offset` Nullable(Int64) CODEC(DoubleDelta, LZ4), ADD COLUMN IF NOT EXISTS `request_row` Nullable(Int32), ADD COLUMN IF NOT EXISTS `score` Nullable(Float32) CODEC(ZSTD(1)), ADD COLUMN IF NOT EXISTS `label` Nullable(Int64), ADD COLUMN IF NOT EXISTS `said` Nullable(String) CODEC(ZSTD(1)), ADD COLUMN IF NOT EXISTS `version` LowCardinality(Nullable(String)), ADD COLUMN IF NOT EXISTS `variant` LowCardinality(Nullable(String)), ADD COLUMN IF NOT EXISTS `outcome` LowCardinality(Nullable(String)), ADD COLUMN IF NOT EXISTS `error_class` LowCardinality(Nullable(String)), ADD COLUMN IF NOT EXISTS `latency_us` Nullable(Int64), ADD COLUMN IF NOT EXISTS `queue_us` Nullable(Int64), ADD COLUMN IF NOT EXISTS `scored_at` Nullable(DateTime64(6, 'UTC')) CODEC(DoubleDelta, LZ4);
