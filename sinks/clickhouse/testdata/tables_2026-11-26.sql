-- Tables that do not depend on a model. {{database}} is the configured database and
-- {{ttl_days}} the retention. Statements are separated by a line of two dashes and are
-- safe to run twice.

CREATE TABLE IF NOT EXISTS {{database}}.feedback
(
    model              LowCardinality(String),
    request_id         String CODEC(ZSTD(1)),
    label              Nullable(Float64) COMMENT 'a numeric or boolean label',
    label_class        LowCardinality(String) DEFAULT '' COMMENT 'a label that is a string',
    observed_at        DateTime64(6, 'UTC') COMMENT 'when the label became known; event time' CODEC(DoubleDelta, LZ4),
    received_at        DateTime64(6, 'UTC') COMMENT 'when the feedback reached Kafka' CODEC(DoubleDelta, LZ4),
    feedback_topic_id  LowCardinality(String),
    feedback_partition Int32,
    feedback_offset    Int64 CODEC(DoubleDelta, LZ4),
    INDEX by_offset feedback_offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(received_at)
ORDER BY (model, request_id, feedback_partition, feedback_offset)
TTL toDateTime(received_at) + INTERVAL {{ttl_days}} DAY
COMMENT 'Labels that arrived after the prediction. A correction is a later row of the same request: take argMax(label, feedback_offset).'
--
CREATE TABLE IF NOT EXISTS {{database}}.dead_letters
(
    error_class          LowCardinality(String),
    reason               String CODEC(ZSTD(1)),
    model                LowCardinality(String),
    version              LowCardinality(String),
    topic                LowCardinality(String) COMMENT 'where the record was found',
    request_topic_id     LowCardinality(String),
    request_partition    Int32,
    request_offset       Int64 CODEC(DoubleDelta, LZ4),
    request_row          Int32,
    failed_at            DateTime64(6, 'UTC') CODEC(DoubleDelta, LZ4),
    key                  String CODEC(ZSTD(1)),
    value                String COMMENT 'the original bytes' CODEC(ZSTD(1)),
    headers              Map(String, String) COMMENT 'the original headers; of repeated keys the last' CODEC(ZSTD(1)),
    dead_letter_topic_id LowCardinality(String) COMMENT 'coordinates of the dead letter itself; of bad feedback, those of the feedback',
    dead_letter_partition Int32,
    dead_letter_offset   Int64 CODEC(DoubleDelta, LZ4),
    INDEX by_offset dead_letter_offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(failed_at)
ORDER BY (model, error_class, failed_at)
TTL toDateTime(failed_at) + INTERVAL {{ttl_days}} DAY
COMMENT 'Records that could not be answered, with their bytes, the class of the error and the reason.'
--
CREATE TABLE IF NOT EXISTS {{database}}.events
(
    id               String,
    type             LowCardinality(String),
    kind             LowCardinality(String),
    severity         LowCardinality(String),
    model            LowCardinality(String),
    version          LowCardinality(String),
    time             DateTime64(6, 'UTC') CODEC(DoubleDelta, LZ4),
    body             String COMMENT 'the CloudEvent as JSON' CODEC(ZSTD(1)),
    event_topic_id   LowCardinality(String),
    event_partition  Int32,
    event_offset     Int64
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (model, time, id)
COMMENT 'What was published on the events topic. A repeated event has the same id.'
--
CREATE TABLE IF NOT EXISTS {{database}}.model_versions
(
    model    LowCardinality(String),
    version  LowCardinality(String),
    outputs  String COMMENT 'names of the prediction columns, comma-separated',
    score    LowCardinality(String) COMMENT 'the output that stands for the prediction where models are seen together; empty if none is a number',
    seen_at  DateTime64(6, 'UTC') COMMENT 'when a recorder first met this layout'
)
ENGINE = ReplacingMergeTree(seen_at)
ORDER BY (model, version)
COMMENT 'Versions of which observations have been stored. Read with FINAL.'
--
CREATE TABLE IF NOT EXISTS {{database}}.minute_states
(
    model             LowCardinality(String),
    version           LowCardinality(String),
    variant           LowCardinality(String),
    minute            DateTime('UTC') COMMENT 'of scored_at',
    request_topic_id  LowCardinality(String),
    request_partition Int32,
    outcome           LowCardinality(String),
    error_class       LowCardinality(String),
    requests          SimpleAggregateFunction(sum, UInt64),
    latency_sum_us    SimpleAggregateFunction(sum, Int64),
    latency_max_us    SimpleAggregateFunction(max, Int64),
    latency           AggregateFunction(quantilesTDigest(0.5, 0.9, 0.99, 0.999), Int64),
    queue             AggregateFunction(quantilesTDigest(0.5, 0.9, 0.99, 0.999), Int64),
    score             AggregateFunction(quantilesTDigest(0.1, 0.25, 0.5, 0.75, 0.9), Nullable(Float64)),
    score_sum         SimpleAggregateFunction(sum, Float64),
    event_time_max    SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    scored_at_max     SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (model, version, variant, minute, request_topic_id, request_partition, outcome, error_class)
TTL minute + INTERVAL {{ttl_days}} DAY
COMMENT 'One row per minute, version, variant, request partition and outcome; read it through minute_statistics.'
--
CREATE OR REPLACE VIEW {{database}}.minute_statistics AS
SELECT
    s.model AS model, s.version AS version, s.variant AS variant, s.minute AS minute,
    sum(s.requests)                                       AS requests,
    sumIf(s.requests, s.outcome = 'failed')               AS failed,
    sumMapIf(map(toString(s.error_class), s.requests), s.error_class != '') AS errors,
    round(sum(s.latency_sum_us) / greatest(sum(s.requests), 1), 1) AS latency_mean_us,
    quantilesTDigestMerge(0.5, 0.9, 0.99, 0.999)(s.latency) AS latency_quantiles_us,
    max(s.latency_max_us)                                 AS latency_max_us,
    quantilesTDigestMerge(0.5, 0.9, 0.99, 0.999)(s.queue) AS queue_quantiles_us,
    quantilesTDigestMerge(0.1, 0.25, 0.5, 0.75, 0.9)(s.score) AS score_quantiles,
    sumIf(s.score_sum, s.outcome = 'ok') / sumIf(s.requests, s.outcome = 'ok') AS score_mean
FROM {{database}}.minute_states AS s
GROUP BY s.model, s.version, s.variant, s.minute
--
CREATE TABLE IF NOT EXISTS {{database}}.drift_results
(
    model        LowCardinality(String),
    version      LowCardinality(String),
    window_start DateTime64(6, 'UTC'),
    window_end   DateTime64(6, 'UTC'),
    revision     UInt32 COMMENT 'rises when late rows made the window be judged again',
    column       LowCardinality(String) COMMENT 'feature or output; empty for the data set',
    stattest     LowCardinality(String),
    score        Float64 COMMENT 'statistic or distance',
    p_value      Nullable(Float64),
    threshold    Nullable(Float64) COMMENT 'NULL: computed, not judged',
    drifted      Bool,
    severity     LowCardinality(String),
    retrain      Bool,
    rows         UInt64 COMMENT 'rows in the window',
    missing      UInt64 COMMENT 'of them, NULL or NaN in this column',
    computed_at  DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, version, window_start, column, stattest, revision)
COMMENT 'Drift scores per event-time window. Read with FINAL.'
--
CREATE TABLE IF NOT EXISTS {{database}}.accuracy_results
(
    model        LowCardinality(String),
    version      LowCardinality(String),
    window_start DateTime64(6, 'UTC'),
    window_end   DateTime64(6, 'UTC'),
    revision     UInt32,
    metric       LowCardinality(String),
    value        Nullable(Float64) COMMENT 'NULL: not defined, such as the precision of no positive prediction',
    threshold    Nullable(Float64),
    breached     Bool,
    severity     LowCardinality(String),
    retrain      Bool,
    rows         UInt64 COMMENT 'answered requests in the window',
    labels       UInt64 COMMENT 'of them, with a label',
    computed_at  DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, version, window_start, metric, revision)
COMMENT 'Quality figures per event-time window, with the labels that had arrived. Read with FINAL.'
--
CREATE TABLE IF NOT EXISTS {{database}}.windows
(
    model        LowCardinality(String),
    version      LowCardinality(String),
    job          LowCardinality(String) COMMENT 'drift, accuracy or report',
    window_start DateTime64(6, 'UTC'),
    window_end   DateTime64(6, 'UTC'),
    revision     UInt32,
    rows         UInt64,
    labels       UInt64,
    verdict      LowCardinality(String) COMMENT 'ok, breached or too_few',
    done_at      DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(done_at)
ORDER BY (model, version, job, window_start, revision)
COMMENT 'Which windows each job of the monitor has finished: written last, so that a job that was interrupted is done again. Read with FINAL.'
--
CREATE TABLE IF NOT EXISTS {{database}}.observations_flights
(
    `f0` Float32 CODEC(ZSTD(1)),
    `f1` Float32 CODEC(ZSTD(1)),
    `f2` Float32 CODEC(ZSTD(1)),
    `f3` Float32 CODEC(ZSTD(1)),
    `f4` Float32 CODEC(ZSTD(1)),
    `f5` Float32 CODEC(ZSTD(1)),
    `f6` Float32 CODEC(ZSTD(1)),
    `f7` Float32 CODEC(ZSTD(1)),
    `origin` LowCardinality(String),
    `minute` LowCardinality(String),
    `request_id` String CODEC(ZSTD(1)),
    `event_time` DateTime64(6, 'UTC') CODEC(DoubleDelta, LZ4),
    `request_topic_id` LowCardinality(String),
    `request_partition` Int32,
    `request_offset` Int64 CODEC(DoubleDelta, LZ4),
    `request_row` Int32,
    `label` Nullable(Float64) CODEC(ZSTD(1)),
    `probability` Nullable(Float64) CODEC(ZSTD(1)),
    `version` LowCardinality(String),
    `variant` LowCardinality(String),
    `outcome` LowCardinality(String),
    `error_class` LowCardinality(String),
    `latency_us` Int64,
    `queue_us` Int64,
    `scored_at` DateTime64(6, 'UTC') CODEC(DoubleDelta, LZ4),
    INDEX by_offset request_offset TYPE minmax GRANULARITY 1,
    INDEX by_scored_at scored_at TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(scored_at)
ORDER BY (version, event_time)
TTL toDateTime(scored_at) + INTERVAL {{ttl_days}} DAY
COMMENT 'One row per request that flights was asked to score.'
--
CREATE MATERIALIZED VIEW IF NOT EXISTS {{database}}.minute_states_of_flights TO {{database}}.minute_states AS
SELECT
    'flights' AS model, "@o".version AS version, "@o".variant AS variant,
    toStartOfMinute(toDateTime("@o".scored_at, 'UTC')) AS minute,
    "@o".request_topic_id AS request_topic_id, "@o".request_partition AS request_partition,
    "@o".outcome AS outcome, "@o".error_class AS error_class,
    count() AS requests,
    sum("@o".latency_us) AS latency_sum_us,
    max("@o".latency_us) AS latency_max_us,
    quantilesTDigestState(0.5, 0.9, 0.99, 0.999)("@o".latency_us) AS latency,
    quantilesTDigestState(0.5, 0.9, 0.99, 0.999)("@o".queue_us) AS queue,
    quantilesTDigestState(0.1, 0.25, 0.5, 0.75, 0.9)(CAST("@o".`probability`, 'Nullable(Float64)')) AS score,
    ifNull(sum(CAST("@o".`probability`, 'Nullable(Float64)')), 0) AS score_sum,
    maxIf("@o".event_time, "@o".event_time <= "@o".scored_at + INTERVAL 1 HOUR) AS event_time_max,
    max("@o".scored_at) AS scored_at_max
FROM {{database}}.observations_flights AS "@o"
GROUP BY "@o".version, "@o".variant, toStartOfMinute(toDateTime("@o".scored_at, 'UTC')),
    "@o".request_topic_id, "@o".request_partition, "@o".outcome, "@o".error_class
COMMENT 'Feeds minute_states. Definition of the release of 2026-11-26'
