ALTER TABLE {{database}}.feedback MODIFY COMMENT 'Labels that arrived after the prediction. A correction is another row of the same request. The label that counts is the last by argMax(label, (observed_at, received_at, feedback_topic_id, feedback_partition, feedback_offset)): offsets of different partitions are not comparable.'
--
ALTER TABLE {{database}}.windows
    ADD COLUMN IF NOT EXISTS label_state UInt64 COMMENT 'of job accuracy: a sum of hashes of the labels that counted; labels that change it make a revision. 0: no label, or a row of an earlier release',
    ADD COLUMN IF NOT EXISTS retraining Bool COMMENT 'this revision asked for retraining'
--
INSERT INTO {{database}}.windows (model, version, job, window_start, window_end, revision, rows, labels, verdict, done_at, retraining)
SELECT model, version, job, window_start, window_end, revision, rows, labels, verdict, done_at, true
FROM {{database}}.windows FINAL
WHERE NOT retraining AND (model, version, job, window_start, revision) IN (
    SELECT model, version, 'drift', window_start, revision FROM {{database}}.drift_results FINAL WHERE drifted AND retrain
    UNION ALL
    SELECT model, version, 'accuracy', window_start, revision FROM {{database}}.accuracy_results FINAL WHERE breached AND retrain
)
--
CREATE TABLE IF NOT EXISTS {{database}}.label_looks
(
    model     LowCardinality(String),
    version   LowCardinality(String),
    looked_at DateTime('UTC') COMMENT 'labels with an earlier stored_at have been looked at, but for those of inserts that took long'
)
ENGINE = ReplacingMergeTree(looked_at)
ORDER BY (model, version)
COMMENT 'Up to which label the monitor has looked for windows to judge again. Read with FINAL.'
--
CREATE TABLE IF NOT EXISTS {{database}}.label_counts
(
    model       LowCardinality(String),
    reason      LowCardinality(String) COMMENT 'counts; superseded: another label of the request counts; unknown_request: no such request was stored; unknown_model: nothing of the model was',
    stored_from DateTime('UTC') COMMENT 'labels with a stored_at from here',
    stored_to   DateTime('UTC') COMMENT 'to before here',
    labels      UInt64,
    stored_at   {{stored_at}}
)
ENGINE = ReplacingMergeTree(stored_to)
ORDER BY (model, reason, stored_from)
TTL stored_at + INTERVAL {{ttl_days}} DAY
COMMENT 'What became of labels, as it was ten minutes after they were stored. Read with FINAL.'
