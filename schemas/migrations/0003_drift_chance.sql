ALTER TABLE {{database}}.drift_results
    MODIFY COLUMN p_value Nullable(Float64) COMMENT 'how likely a score as great is where nothing drifted: of checks by dealing the rows anew, of other scores by their test',
    ADD COLUMN IF NOT EXISTS expected Nullable(Float64) COMMENT 'the score where nothing drifted, at these rows and cells; NULL: no check judges the score' AFTER p_value,
    ADD COLUMN IF NOT EXISTS effect Nullable(Float64) COMMENT 'the score without what is expected; at least the threshold where it drifted' AFTER expected,
    ADD COLUMN IF NOT EXISTS p_corrected Nullable(Float64) COMMENT 'p_value, corrected over the checks of the window (Holm); at most monitoring.rate where it drifted' AFTER effect,
    ADD COLUMN IF NOT EXISTS smallest_effect Nullable(Float64) COMMENT 'the smallest effect that is told from chance in 80 % of such windows; NULL: none is' AFTER p_corrected,
    ADD COLUMN IF NOT EXISTS verdict LowCardinality(String) COMMENT 'drifted, ok or not_judged; empty where no check judges the score, and in rows of earlier releases' AFTER drifted,
    ADD COLUMN IF NOT EXISTS reason String COMMENT 'why it is not judged' AFTER verdict
