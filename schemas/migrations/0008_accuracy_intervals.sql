ALTER TABLE {{database}}.accuracy_results
    ADD COLUMN IF NOT EXISTS low Nullable(Float64) COMMENT 'the interval of 95 % of value, as far as the labels that have come tell; NULL: there is none' AFTER value,
    ADD COLUMN IF NOT EXISTS high Nullable(Float64) COMMENT 'its upper end' AFTER low,
    ADD COLUMN IF NOT EXISTS no_interval String COMMENT 'why there is no interval; empty in rows of earlier releases' AFTER high
