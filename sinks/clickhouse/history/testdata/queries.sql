-- progress
SELECT model, version, request_topic_id, request_partition,
  maxIf(event_time_max, event_time_max != toDateTime64(0, 6, 'UTC') AND event_time_max <= scored_at_max + INTERVAL 1 HOUR) AS event_time,
  max(scored_at_max) AS scored_at, max(minute) AS newest, sum(minute_states.requests) AS requests
FROM millrace.minute_states WHERE model IN ('shop', 'flights')
GROUP BY model, version, request_topic_id, request_partition;

-- progress since a day
SELECT model, version, request_topic_id, request_partition,
  maxIf(event_time_max, event_time_max != toDateTime64(0, 6, 'UTC') AND event_time_max <= scored_at_max + INTERVAL 1 HOUR) AS event_time,
  max(scored_at_max) AS scored_at, max(minute) AS newest, sum(minute_states.requests) AS requests
FROM millrace.minute_states WHERE model IN ('shop', 'flights') AND minute >= toDateTime(980985600, 'UTC')
GROUP BY model, version, request_topic_id, request_partition;

-- rows by window, from the beginning
SELECT toInt64(intDiv(toUnixTimestamp64Micro(event_time) - (-2208988800000000), 3600000000)) AS w, count() AS n FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980996400000000, 'UTC') GROUP BY w ORDER BY w;

-- rows by window
SELECT toInt64(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS w, count() AS n FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980996400000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') GROUP BY w ORDER BY w;

-- rows by window, scored since
SELECT toInt64(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS w, count() AS n FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980996400000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND scored_at >= fromUnixTimestamp64Micro(981018000000000, 'UTC') GROUP BY w ORDER BY w;

-- cells
SELECT `0w` AS w, `0t`.1 AS c, `0t`.2 AS b, count() AS n FROM (SELECT toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, arrayJoin([(toUInt16(0), toUInt16(if(isNull(`amount`) OR isNaN(`amount`), 65535, transform(roundDown(assumeNotNull(toFloat64(`amount`)), [-inf,-1e+30,1e-01,3.333333333333333e-01,1e+30] AS `0edges_amount`), `0edges_amount`, range(0, 5), 65534)))),(toUInt16(1), toUInt16(if(isNull(`country`), 65535, transform(assumeNotNull(toString(`country`)), ['it\'s','back\\slash','größe','new
line',''], range(1, 6), 0)))),(toUInt16(2), toUInt16(if(isNull(`note`), 65535, 0)))]) AS `0t` FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980992800000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY w, c, b;

-- cells of windows apart
SELECT `0w` AS w, `0t`.1 AS c, `0t`.2 AS b, count() AS n FROM (SELECT toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, arrayJoin([(toUInt16(0), toUInt16(if(isNull(`amount`) OR isNaN(`amount`), 65535, transform(roundDown(assumeNotNull(toFloat64(`amount`)), [-inf,-1e+30,1e-01,3.333333333333333e-01,1e+30] AS `0edges_amount`), `0edges_amount`, range(0, 5), 65534)))),(toUInt16(1), toUInt16(if(isNull(`country`), 65535, transform(assumeNotNull(toString(`country`)), ['it\'s','back\\slash','größe','new
line',''], range(1, 6), 0)))),(toUInt16(2), toUInt16(if(isNull(`note`), 65535, 0)))]) AS `0t` FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3)) GROUP BY w, c, b;

-- quality
SELECT w, sumIf(p, score >= 5e-01) AS tp, sumIf(n, score >= 5e-01) AS fp, sumIf(p, score < 5e-01) AS fn, sumIf(n, score < 5e-01) AS tn,
  sum(p * toUInt64(2 * negatives - n)) AS twice_u
FROM (
  SELECT w, score, p, n, sum(n) OVER (PARTITION BY w ORDER BY score ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS negatives
  FROM (
    SELECT assumeNotNull(w) AS w, assumeNotNull(score) AS score, countIf(label > 1.5e+01) AS p, countIf(NOT label > 1.5e+01) AS n
    FROM (
SELECT o.`0w` AS w, o.`0s` AS score, l.label AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin(toFloat64(`score`), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3)) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
WHERE NOT isNull(o.`0s`) AND NOT isNaN(o.`0s`)
    )
    GROUP BY w, score
  )
)
GROUP BY w;

-- finished
SELECT job, max(window_start) AS last FROM millrace.windows WHERE model = 'shop' AND version = '1.0' GROUP BY job;

-- finished
SELECT `model`, `version`, `job`, `window_start`, `window_end`, `revision`, `rows`, `labels`, `verdict`, `done_at` FROM millrace.windows FINAL WHERE model = 'shop' AND version = '1.0' ORDER BY revision;

-- finished
SELECT job, window_start, min(revision) AS revision FROM (
  SELECT 'drift' AS job, window_start, revision FROM millrace.drift_results FINAL WHERE drifted AND retrain AND model = 'shop' AND version = '1.0'
  UNION ALL
  SELECT 'accuracy' AS job, window_start, revision FROM millrace.accuracy_results FINAL WHERE breached AND retrain AND model = 'shop' AND version = '1.0')
GROUP BY job, window_start ORDER BY job DESC;

-- finished since
SELECT `model`, `version`, `job`, `window_start`, `window_end`, `revision`, `rows`, `labels`, `verdict`, `done_at` FROM millrace.windows FINAL WHERE model = 'shop' AND version = '1.0' AND window_start >= fromUnixTimestamp64Micro(980985600000000, 'UTC') ORDER BY revision;

-- finished since
SELECT job, window_start, min(revision) AS revision FROM (
  SELECT 'drift' AS job, window_start, revision FROM millrace.drift_results FINAL WHERE drifted AND retrain AND model = 'shop' AND version = '1.0' AND window_start >= fromUnixTimestamp64Micro(980985600000000, 'UTC')
  UNION ALL
  SELECT 'accuracy' AS job, window_start, revision FROM millrace.accuracy_results FINAL WHERE breached AND retrain AND model = 'shop' AND version = '1.0' AND window_start >= fromUnixTimestamp64Micro(980985600000000, 'UTC'))
GROUP BY job, window_start ORDER BY job DESC;

-- rows
SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') ORDER BY event_time;

-- training
SELECT o.request_id AS request_id, o.event_time AS event_time, o.`amount` AS `amount`, o.`country` AS `country`, o.`label` AS `label`, o.`note` AS `note`, f.label AS feedback_label FROM (SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY f.request_id) AS f ON f.request_id = o.request_id ORDER BY event_time;

-- training, label
SELECT o.request_id AS request_id, o.event_time AS event_time, o.`amount` AS `amount`, o.`country` AS `country`, f.label AS label FROM (SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY f.request_id) AS f ON f.request_id = o.request_id ORDER BY event_time;

-- training without a target
SELECT o.request_id AS request_id, o.event_time AS event_time, o.`amount` AS `amount`, o.`country` AS `country` FROM millrace.observations_shop AS o WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') ORDER BY event_time;

-- due reports
SELECT window_start, maxIf(done_at, job != 'report') AS done
FROM millrace.windows WHERE model = 'shop' AND version = '1.0' GROUP BY window_start
HAVING done > maxIf(done_at, job = 'report') ORDER BY window_start DESC LIMIT 64;

-- results
SELECT `model`, `version`, `job`, `window_start`, `window_end`, `revision`, `rows`, `labels`, `verdict`, `done_at` FROM millrace.windows FINAL WHERE model = 'shop' AND version = '1.0' AND window_start BETWEEN fromUnixTimestamp64Micro(980985600000000, 'UTC') AND fromUnixTimestamp64Micro(980996400000000, 'UTC') ORDER BY window_start, job, revision DESC LIMIT 1 BY window_start, job;

-- results
SELECT `model`, `version`, `window_start`, `window_end`, `revision`, `column`, `stattest`, `score`, `p_value`, `expected`, `effect`, `p_corrected`, `smallest_effect`, `threshold`, `drifted`, `verdict`, `reason`, `severity`, `retrain`, `rows`, `missing`, `computed_at` FROM millrace.drift_results FINAL WHERE model = 'shop' AND version = '1.0' AND window_start BETWEEN fromUnixTimestamp64Micro(980985600000000, 'UTC') AND fromUnixTimestamp64Micro(980996400000000, 'UTC') ORDER BY window_start, column, stattest, revision DESC LIMIT 1 BY window_start, column, stattest;

-- results
SELECT `model`, `version`, `window_start`, `window_end`, `revision`, `metric`, `value`, `threshold`, `breached`, `severity`, `retrain`, `rows`, `labels`, `computed_at` FROM millrace.accuracy_results FINAL WHERE model = 'shop' AND version = '1.0' AND window_start BETWEEN fromUnixTimestamp64Micro(980985600000000, 'UTC') AND fromUnixTimestamp64Micro(980996400000000, 'UTC') ORDER BY window_start, metric, revision DESC LIMIT 1 BY window_start, metric;

-- verdicts
SELECT window_start,
  toString(argMaxIf(verdict, (revision, done_at), job = 'drift')) AS drift, toString(argMaxIf(verdict, (revision, done_at), job = 'accuracy')) AS accuracy,
  max(job = 'report') = 1 AS reported, max(rows) AS n, max(labels) AS l
FROM millrace.windows WHERE model = 'shop' AND version = '1.0' GROUP BY window_start ORDER BY window_start DESC LIMIT 1001;

