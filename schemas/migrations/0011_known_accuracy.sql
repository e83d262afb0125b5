ALTER TABLE {{database}}.accuracy_results
    ADD COLUMN IF NOT EXISTS sampling_error Nullable(Float64) COMMENT 'of estimated_...: standard error of the figure over as many rows' AFTER no_interval,
    ADD COLUMN IF NOT EXISTS realized Nullable(Float64) COMMENT 'of realized_less_estimated_...: the figure by labels' AFTER sampling_error,
    ADD COLUMN IF NOT EXISTS estimated Nullable(Float64) COMMENT 'of realized_less_estimated_...: the estimate of the rows that have a label' AFTER realized,
    ADD COLUMN IF NOT EXISTS counted_within Nullable(Float64) COMMENT 'of estimated_roc_auc: how far it may be from that of the single rows' AFTER estimated
--
CREATE TABLE IF NOT EXISTS {{database}}.accuracy_segments
(
    model         LowCardinality(String),
    version       LowCardinality(String),
    window_start  DateTime64(6, 'UTC'),
    window_end    DateTime64(6, 'UTC'),
    revision      UInt32 COMMENT 'of job accuracy',
    segment       LowCardinality(String) COMMENT 'feature of monitoring.segments',
    segment_value String COMMENT 'its value as text; empty where it is missing',
    other         Bool COMMENT 'all values but the 50 with most labels',
    metric        LowCardinality(String),
    value         Nullable(Float64),
    low           Nullable(Float64) COMMENT 'the interval of 95 % of value; exact (Clopper and Pearson) where rows are few',
    high          Nullable(Float64),
    whole         Nullable(Float64) COMMENT 'the figure of the whole window',
    differs       Bool COMMENT 'value differs from whole at 95 % over all segments of the feature and their figures together',
    labels        UInt64 COMMENT 'rows of the segment that have a label',
    computed_at   DateTime64(6, 'UTC'),
    window_kind   LowCardinality(String) DEFAULT '' COMMENT 'as in windows'
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, version, window_start, window_kind, segment, segment_value, other, metric, revision)
COMMENT 'Quality figures per window and value of a feature, with the labels that had arrived. Read with FINAL.'
--
CREATE TABLE IF NOT EXISTS {{database}}.requirement_results
(
    model        LowCardinality(String),
    version      LowCardinality(String),
    window_start DateTime64(6, 'UTC'),
    window_end   DateTime64(6, 'UTC'),
    revision     UInt32 COMMENT 'of the job that measured it: requirement for latency_ms, accuracy for accuracy',
    requirement  LowCardinality(String) COMMENT 'key of the manifest: latency_ms, accuracy',
    required     Float64,
    value        Nullable(Float64) COMMENT 'as measured, in the unit of required; NULL: nothing was',
    low          Nullable(Float64) COMMENT 'the interval of 95 %; NULL: there is none',
    high         Nullable(Float64),
    verdict      LowCardinality(String) COMMENT 'met; breached: all of the interval is beyond what is required; open: value is, and not all of it; too_few: no interval',
    rows         UInt64 COMMENT 'answered requests, or labels, that it was measured by',
    computed_at  DateTime64(6, 'UTC'),
    window_kind  LowCardinality(String) DEFAULT '' COMMENT 'as in windows'
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, version, window_start, window_kind, requirement, revision)
COMMENT 'What windows tell of the requirements of the manifest. Read with FINAL.'
--
CREATE TABLE IF NOT EXISTS {{database}}.label_delays
(
    model        LowCardinality(String),
    version      LowCardinality(String),
    window_start DateTime64(6, 'UTC'),
    window_end   DateTime64(6, 'UTC'),
    revision     UInt32 COMMENT 'of job accuracy',
    rows         UInt64 COMMENT 'answered requests in the window',
    labels       UInt64 COMMENT 'of them, with a label',
    median_s     Float64 COMMENT 'seconds from the event time of a row to when its first usable label was observed; below 0 where that is said to be earlier',
    p90_s        Float64,
    p99_s        Float64,
    longest_s    Float64,
    computed_at  DateTime64(6, 'UTC'),
    window_kind  LowCardinality(String) DEFAULT '' COMMENT 'as in windows'
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, version, window_start, window_kind, revision)
COMMENT 'How long labels took, per window. Read with FINAL.'
--
CREATE TABLE IF NOT EXISTS {{database}}.learned_estimators
(
    model      LowCardinality(String),
    version    LowCardinality(String),
    learned_to DateTime64(6, 'UTC') COMMENT 'end of the last window of the learned reference',
    rows       UInt64 COMMENT 'labelled rows of these windows',
    estimator  String COMMENT 'what estimates quality without labels, as JSON' CODEC(ZSTD(1)),
    made_at    DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'the clock of the server'
)
ENGINE = MergeTree
ORDER BY (model, version, made_at)
COMMENT 'What learned references say of how scores become targets. The first row of a reference counts, and does not expire.'
--
ALTER TABLE {{database}}.windows MODIFY COLUMN job COMMENT 'drift, estimate, requirement, accuracy or report'
--
INSERT INTO {{database}}.windows (model, version, job, window_start, window_end, revision, rows, labels, verdict, done_at)
SELECT model, version, 'requirement', w.window_start, w.window_end, 0, max(w.rows), 0, 'not_judged', max(w.done_at)
FROM {{database}}.windows AS w FINAL
WHERE w.job IN ('drift', 'accuracy') AND (w.model, w.version) NOT IN (SELECT model, version FROM {{database}}.windows WHERE job = 'requirement')
GROUP BY model, version, w.window_start, w.window_end
