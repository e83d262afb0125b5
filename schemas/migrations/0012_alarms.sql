CREATE TABLE IF NOT EXISTS {{database}}.alarm_calibrations
(
    model           LowCardinality(String),
    version         LowCardinality(String),
    window_seconds  UInt64 COMMENT 'length of the windows',
    reference       String COMMENT 'digest of the cells that rows are counted by',
    settings        String COMMENT 'digest of monitoring.false_alarms as it was',
    calibrated_from DateTime64(6, 'UTC'),
    calibrated_to   DateTime64(6, 'UTC') COMMENT 'end of the last window that it was made of; windows from here on are decided',
    buckets         String COMMENT 'counts by window and column, as JSON' CODEC(ZSTD(3)),
    calibration     String COMMENT 'threshold, what it promises, and what it rests on, as JSON' CODEC(ZSTD(1)),
    card            String COMMENT 'how often alarms are false, and how late, as JSON: millrace monitor card' CODEC(ZSTD(1)),
    made_at         DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'the clock of the server'
)
ENGINE = MergeTree
ORDER BY (model, version, window_seconds, made_at)
COMMENT 'What alarms of drift are decided by (monitoring.false_alarms). The first row of a version with the same window, reference and settings counts, and does not expire.'
--
CREATE TABLE IF NOT EXISTS {{database}}.alarms
(
    model        LowCardinality(String),
    version      LowCardinality(String),
    window_start DateTime64(6, 'UTC'),
    window_end   DateTime64(6, 'UTC'),
    revision     UInt32 COMMENT 'that of the window, as in windows',
    rows         UInt64,
    no_data      Bool COMMENT 'fewer than min_rows rows: not scored',
    above        Bool COMMENT 'a check scored above the threshold',
    score        Float64 COMMENT 'of the worst check, in standard deviations from what it is where nothing drifts',
    threshold    Float64,
    column       LowCardinality(String) COMMENT 'of the worst check',
    stattest     LowCardinality(String),
    phase        LowCardinality(String) COMMENT 'after the window: ok, pending, firing, resolved or no_data',
    opened_at    Nullable(DateTime64(6, 'UTC')) COMMENT 'of an open alarm the start of the window with which it opened',
    recent       UInt64 COMMENT 'the last windows: bit i, whether the one i judged windows ago was above the threshold',
    quiet        UInt32 COMMENT 'of an open alarm, judged windows in a row that were not above it',
    settings     LowCardinality(String) COMMENT 'of alarm_calibrations: what it was decided by',
    decided_at   DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(decided_at)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, version, window_start, window_end, revision)
COMMENT 'Alarms of drift by window. A row counts where windows has the same window and revision as finished. Read with FINAL.'
