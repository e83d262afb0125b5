CREATE TABLE IF NOT EXISTS {{database}}.learned_references
(
    model      LowCardinality(String),
    version    LowCardinality(String),
    windows    Array(DateTime64(6, 'UTC')) COMMENT 'starts of the windows whose rows it was made of',
    learned_to DateTime64(6, 'UTC') COMMENT 'end of the last of them; windows that start before it are not judged for drift',
    rows       UInt64 COMMENT 'answered requests that it was made of',
    reference  String COMMENT 'as reference.json' CODEC(ZSTD(1)),
    made_at    DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'the clock of the server'
)
ENGINE = MergeTree
ORDER BY (model, version, made_at)
COMMENT 'References that were learned from what a version answered (monitoring.reference). The first of a version counts, and does not expire.'
--
ALTER TABLE {{database}}.windows MODIFY COLUMN verdict COMMENT 'ok, breached, too_few, not_judged, or learning where the reference is learned up to here'
