ALTER TABLE {{database}}.windows
    ADD COLUMN IF NOT EXISTS window_kind LowCardinality(String) COMMENT 'which of monitoring.windows it is of: 1h, or 1d-every-1h of those that slide; empty of monitoring.window',
    MODIFY ORDER BY (model, version, job, window_start, revision, window_kind)
--
ALTER TABLE {{database}}.drift_results
    ADD COLUMN IF NOT EXISTS window_kind LowCardinality(String) COMMENT 'as in windows',
    MODIFY ORDER BY (model, version, window_start, column, stattest, revision, window_kind)
--
ALTER TABLE {{database}}.accuracy_results
    ADD COLUMN IF NOT EXISTS window_kind LowCardinality(String) COMMENT 'as in windows',
    MODIFY ORDER BY (model, version, window_start, metric, revision, window_kind)
--
ALTER TABLE {{database}}.label_looks
    ADD COLUMN IF NOT EXISTS window_kind LowCardinality(String) COMMENT 'as in windows',
    MODIFY ORDER BY (model, version, window_kind)
