CREATE TABLE IF NOT EXISTS {{database}}.break_states
(
    model       LowCardinality(String),
    version     LowCardinality(String),
    number      UInt64 COMMENT 'of the state among those of the version; the last one counts',
    state       String COMMENT 'the detectors, and up to which label and row of each partition they have taken values' CODEC(ZSTD(1)),
    events      Array(String) COMMENT 'events of the breaks that led to the state, as JSON, which may not have been published yet',
    labels_from DateTime('UTC') COMMENT 'labels with an earlier stored_at are not looked at any more',
    rows_from   DateTime('UTC') COMMENT 'rows with an earlier stored_at are not looked at any more'
)
ENGINE = ReplacingMergeTree(number)
ORDER BY (model, version)
COMMENT 'How far the detectors of sudden breaks are. Read with FINAL.'
