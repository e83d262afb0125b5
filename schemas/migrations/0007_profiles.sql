CREATE TABLE IF NOT EXISTS {{database}}.profile_plans
(
    model   LowCardinality(String),
    version LowCardinality(String),
    plan    String COMMENT 'the same for plans that count the same',
    bucket  Int64 COMMENT 'length of a bucket of event time, in microseconds',
    text    String COMMENT 'the plan as JSON: columns with their cells, segments' CODEC(ZSTD(1)),
    made_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'the clock of the server'
)
ENGINE = MergeTree
ORDER BY (model, version, made_at)
COMMENT 'What is counted of the answered rows of a version as they are stored. The last of a version counts, and does not expire.'
--
CREATE TABLE IF NOT EXISTS {{database}}.profiles
(
    model        LowCardinality(String),
    version      LowCardinality(String),
    plan         LowCardinality(String) COMMENT 'of profile_plans; rows of the same plan add up',
    segment      LowCardinality(String) COMMENT 'the feature that value is one of; empty: all rows',
    value        String,
    column       LowCardinality(String) COMMENT 'feature or output; empty in a row that says which records were counted',
    bucket       DateTime64(6, 'UTC') COMMENT 'its start, by event time',
    variant      LowCardinality(String),
    topic_id     LowCardinality(String) COMMENT 'of a row that says which records were counted: those of this topic and partition, from first_offset to last_offset',
    partition    Int32,
    first_offset Int64,
    last_offset  Int64,
    rows         SimpleAggregateFunction(sum, UInt64) COMMENT 'answered requests',
    missing      SimpleAggregateFunction(sum, UInt64) COMMENT 'NULL',
    nan          SimpleAggregateFunction(sum, UInt64),
    positive_inf SimpleAggregateFunction(sum, UInt64) COMMENT 'also in the last cell',
    negative_inf SimpleAggregateFunction(sum, UInt64) COMMENT 'also in the first cell',
    other        SimpleAggregateFunction(sum, UInt64) COMMENT 'of categories that the plan does not list',
    cells        AggregateFunction(sumForEach, Array(UInt64)) COMMENT 'by bin or listed category, in the order of the plan; trailing zeros are cut off',
    total        SimpleAggregateFunction(sum, Float64) COMMENT 'sum of the finite numbers',
    squares      SimpleAggregateFunction(sum, Float64) COMMENT 'sum of their squares',
    least        SimpleAggregateFunction(min, Float64) COMMENT 'of the finite numbers; inf where there is none',
    greatest     SimpleAggregateFunction(max, Float64) COMMENT 'of the finite numbers; -inf where there is none',
    unseen       AggregateFunction(topKWeighted(10, 3, 'counts'), String, UInt64) COMMENT 'most frequent categories that the plan does not list',
    quantiles    AggregateFunction(quantilesTDigest(0.5), Float64) COMMENT 'of the finite numbers',
    stored_at    {{minute_stored_at}}
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(stored_at)
ORDER BY (model, version, plan, segment, value, column, bucket, variant, topic_id, partition, first_offset, last_offset)
TTL stored_at + INTERVAL {{ttl_days}} DAY
COMMENT 'Counts of answered rows by column, bucket of event time, variant and segment. Rows add up: read with GROUP BY.'
