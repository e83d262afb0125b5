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
SELECT toUInt32(intDiv(toUnixTimestamp64Micro(bucket) - (980985600000000), 3600000000)) AS w, column AS c, sum(profiles.rows) AS n, sum(profiles.missing) + sum(profiles.nan) AS m, sum(profiles.other) AS o, sumForEachMerge(profiles.cells) AS b FROM millrace.profiles WHERE model = 'shop' AND version = '1.0' AND plan = '4a0e0c33c139fbe422afd507a386f2b7' AND segment = '' AND value = '' AND column != '' AND bucket >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND bucket < fromUnixTimestamp64Micro(980992800000000, 'UTC') GROUP BY w, c;

-- cells
SELECT toInt64(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS w, count() AS n FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980992800000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') GROUP BY w ORDER BY w;

-- cells
SELECT `0w` AS w, `0t`.1 AS c, `0t`.2 AS b, count() AS n FROM (SELECT toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, arrayJoin([(toUInt16(0), toUInt16(if(isNull(`amount`) OR isNaN(`amount`), 65535, transform(roundDown(assumeNotNull(toFloat64(`amount`)), [-inf,-1e+30,1e-01,3.333333333333333e-01,1e+30] AS `0edges_amount`), `0edges_amount`, range(0, 5), 65534)))),(toUInt16(1), toUInt16(if(isNull(`country`), 65535, transform(assumeNotNull(toString(`country`)), ['it\'s','back\\slash','größe','new
line',''], range(1, 6), 0)))),(toUInt16(2), toUInt16(if(isNull(`note`), 65535, 0)))]) AS `0t` FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980992800000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY w, c, b;

-- cells of windows apart
SELECT toUInt32(intDiv(toUnixTimestamp64Micro(bucket) - (980985600000000), 3600000000)) AS w, column AS c, sum(profiles.rows) AS n, sum(profiles.missing) + sum(profiles.nan) AS m, sum(profiles.other) AS o, sumForEachMerge(profiles.cells) AS b FROM millrace.profiles WHERE model = 'shop' AND version = '1.0' AND plan = '4a0e0c33c139fbe422afd507a386f2b7' AND segment = '' AND value = '' AND column != '' AND bucket >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND bucket < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(bucket) - (980985600000000), 3600000000) IN (0,3) GROUP BY w, c;

-- cells of windows apart
SELECT toInt64(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS w, count() AS n FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') GROUP BY w ORDER BY w;

-- cells of windows apart
SELECT `0w` AS w, `0t`.1 AS c, `0t`.2 AS b, count() AS n FROM (SELECT toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, arrayJoin([(toUInt16(0), toUInt16(if(isNull(`amount`) OR isNaN(`amount`), 65535, transform(roundDown(assumeNotNull(toFloat64(`amount`)), [-inf,-1e+30,1e-01,3.333333333333333e-01,1e+30] AS `0edges_amount`), `0edges_amount`, range(0, 5), 65534)))),(toUInt16(1), toUInt16(if(isNull(`country`), 65535, transform(assumeNotNull(toString(`country`)), ['it\'s','back\\slash','größe','new
line',''], range(1, 6), 0)))),(toUInt16(2), toUInt16(if(isNull(`note`), 65535, 0)))]) AS `0t` FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3)) GROUP BY w, c, b;

-- faults
SELECT toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, count() AS `0n`, toUInt64(count() - uniqExact(sipHash64(request_id))) AS `0d`, [countIf(ifNull(toFloat64(`amount`) < 1.0000000149011612e-01, 0))] AS `0r` FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3) GROUP BY `0w`;

-- cells by the values of a segment
SELECT value AS v, column AS c, sum(profiles.rows) AS n, sum(profiles.missing) + sum(profiles.nan) AS m, sum(profiles.other) AS o, sumForEachMerge(profiles.cells) AS b FROM millrace.profiles WHERE model = 'shop' AND version = '1.0' AND plan = 'fc9f2c4775701db0a1bc9b42582171c2' AND segment = 'country' AND column != '' AND bucket >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND bucket < fromUnixTimestamp64Micro(980996400000000, 'UTC') GROUP BY v, c;

-- cells by the values of a segment
SELECT count() AS n FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980996400000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC');

-- cells by the values of a segment
SELECT `0w` AS w, `0t`.1 AS c, `0t`.2 AS b, count() AS n FROM (SELECT toUInt32(transform(ifNull(toString(`country`), ''), ['', 'it\'s', 'back\\slash', 'größe', 'new
line'], [0, 1, 2, 3, 4], 5)) AS `0w`, arrayJoin([(toUInt16(0), toUInt16(if(isNull(`amount`) OR isNaN(`amount`), 65535, transform(roundDown(assumeNotNull(toFloat64(`amount`)), [-inf,-1e+30,1e-01,3.333333333333333e-01,1e+30] AS `0edges_amount`), `0edges_amount`, range(0, 5), 65534)))),(toUInt16(1), toUInt16(if(isNull(`country`), 65535, transform(assumeNotNull(toString(`country`)), ['it\'s','back\\slash','größe','new
line',''], range(1, 6), 0)))),(toUInt16(2), toUInt16(if(isNull(`note`), 65535, 0)))]) AS `0t` FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980996400000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY w, c, b;

-- cells by the values of a segment that are not listed
SELECT ifNull(toString(`note`), '') AS v FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980996400000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND v NOT IN ('', '(others)') GROUP BY v ORDER BY count() DESC, v LIMIT 50;

-- cells by the values of a segment that are not listed
SELECT `0w` AS w, `0t`.1 AS c, `0t`.2 AS b, count() AS n FROM (SELECT toUInt32(transform(ifNull(toString(`note`), ''), [''], [0], 1)) AS `0w`, arrayJoin([(toUInt16(0), toUInt16(if(isNull(`amount`) OR isNaN(`amount`), 65535, transform(roundDown(assumeNotNull(toFloat64(`amount`)), [-inf,-1e+30,1e-01,3.333333333333333e-01,1e+30] AS `0edges_amount`), `0edges_amount`, range(0, 5), 65534)))),(toUInt16(1), toUInt16(if(isNull(`country`), 65535, transform(assumeNotNull(toString(`country`)), ['it\'s','back\\slash','größe','new
line',''], range(1, 6), 0)))),(toUInt16(2), toUInt16(if(isNull(`note`), 65535, 0)))]) AS `0t` FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980996400000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY w, c, b;

-- quality
SELECT w, tp, fp, fn, tn, twice_u, outside,
  arrayReduce('sumKahan', arrayMap(r -> r.2 * ((tp + fn - r.4 + r.2) / (tp + fn - r.4 + r.2 + fp + tn - r.5 + r.3)), counts)) AS precisions,
  arraySum(arrayMap(r -> r.5, rows)) AS n, arrayReduce('sumKahan', arrayMap(r -> r.1, rows)) AS log_loss, arrayReduce('sumKahan', arrayMap(r -> r.2, rows)) AS brier,
  arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, r.3 * r.5, 0.), rows)), range(10)) AS predicted_sums, arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, r.4, 0.), rows)), range(10)) AS observed_sums
FROM (
  SELECT *, arrayMap(r -> (r.2 * -log(least(greatest(r.1, 2.220446049250313e-16), 0.9999999999999998)) + r.3 * -log(least(greatest(1 - r.1, 2.220446049250313e-16), 0.9999999999999998)), r.2 * pow(1 - r.1, 2) + r.3 * pow(r.1, 2), r.1, toFloat64(r.2), r.2 + r.3, arrayCount(e -> e < r.1, [0.1, 0.2, 0.30000000000000004, 0.4, 0.5, 0.6000000000000001, 0.7000000000000001, 0.8, 0.9])), counts) AS rows
  FROM (
    SELECT w, sumIf(p, score >= 5e-01) AS tp, sumIf(n, score >= 5e-01) AS fp, sumIf(p, score < 5e-01) AS fn, sumIf(n, score < 5e-01) AS tn,
      sum(p * toUInt64(2 * negatives - n)) AS twice_u, countIf(score < 0 OR score > 1) AS outside,
      arraySort(groupArray((score, p, n, positives, negatives))) AS counts
    FROM (
      SELECT w, score, p, n, sum(p) OVER below AS positives, sum(n) OVER below AS negatives
      FROM (
        SELECT w, assumeNotNull(score) AS score, countIf(label > 1.5e+01) AS p, countIf(NOT label > 1.5e+01) AS n
        FROM (
SELECT o.`0w` AS w, o.`0s` AS score, l.label AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin(toFloat64(`score`), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3) AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`)) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3) AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
        )
        GROUP BY w, score
      )
      WINDOW below AS (PARTITION BY w ORDER BY score ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
    GROUP BY w
  )
);

-- quality of words
SELECT w, tp, fp, fn, tn, twice_u, outside,
  arrayReduce('sumKahan', arrayMap(r -> r.2 * ((tp + fn - r.4 + r.2) / (tp + fn - r.4 + r.2 + fp + tn - r.5 + r.3)), counts)) AS precisions,
  arraySum(arrayMap(r -> r.5, rows)) AS n, arrayReduce('sumKahan', arrayMap(r -> r.1, rows)) AS log_loss, arrayReduce('sumKahan', arrayMap(r -> r.2, rows)) AS brier,
  arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, r.3 * r.5, 0.), rows)), range(10)) AS predicted_sums, arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, r.4, 0.), rows)), range(10)) AS observed_sums
FROM (
  SELECT *, arrayMap(r -> (r.2 * -log(least(greatest(r.1, 2.220446049250313e-16), 0.9999999999999998)) + r.3 * -log(least(greatest(1 - r.1, 2.220446049250313e-16), 0.9999999999999998)), r.2 * pow(1 - r.1, 2) + r.3 * pow(r.1, 2), r.1, toFloat64(r.2), r.2 + r.3, arrayCount(e -> e < r.1, [0.1, 0.2, 0.30000000000000004, 0.4, 0.5, 0.6000000000000001, 0.7000000000000001, 0.8, 0.9])), counts) AS rows
  FROM (
    SELECT w, sumIf(p, score >= 5e-01) AS tp, sumIf(n, score >= 5e-01) AS fp, sumIf(p, score < 5e-01) AS fn, sumIf(n, score < 5e-01) AS tn,
      sum(p * toUInt64(2 * negatives - n)) AS twice_u, countIf(score < 0 OR score > 1) AS outside,
      arraySort(groupArray((score, p, n, positives, negatives))) AS counts
    FROM (
      SELECT w, score, p, n, sum(p) OVER below AS positives, sum(n) OVER below AS negatives
      FROM (
        SELECT w, assumeNotNull(score) AS score, countIf(label = 'it\'s') AS p, countIf(NOT label = 'it\'s') AS n
        FROM (
SELECT o.`0w` AS w, o.`0s` AS score, l.label_class AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin(toFloat64(`score`), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`)) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND f.label_class != '' AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
        )
        GROUP BY w, score
      )
      WINDOW below AS (PARTITION BY w ORDER BY score ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
    GROUP BY w
  )
);

-- quality of classes
SELECT w, class, hits, predictions, labels,
  sum(hits) OVER (PARTITION BY w) AS all_hits, sum(labels) OVER (PARTITION BY w) AS all_labels, count() OVER (PARTITION BY w) AS distinct_classes
FROM (
  SELECT w, c.1 AS class, sum(c.2) AS hits, sum(c.3) AS predictions, sum(c.4) AS labels
  FROM (
    SELECT w, arrayJoin(if(predicted = label, [(label, 1, 1, 1)], [(label, 0, 0, 1), (predicted, 0, 1, 0)])) AS c
    FROM (
SELECT o.`0w` AS w, assumeNotNull(o.`0s`.1) AS predicted, o.`0s`.2 AS probabilities, if(l.label_class != '', toString(l.label_class), ifNull(toString(accurateCastOrNull(l.label, 'Int64')), toString(assumeNotNull(l.label)))) AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin((toString(`class`), CAST([ifNull(toFloat64(`p2`), nan), ifNull(toFloat64(`p1`), nan)], 'Array(Float64)')), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`class`) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND (f.label_class != '' OR (isNotNull(f.label) AND isFinite(f.label))) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`class`)) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
    )
  )
  GROUP BY w, class
)
ORDER BY w, predictions + labels DESC, class LIMIT 1000 BY w;

-- quality of classes
SELECT w, outside,
  arraySum(arrayMap(r -> r.5, rows)) AS n, arrayReduce('sumKahan', arrayMap(r -> r.1, rows)) AS log_loss, arrayReduce('sumKahan', arrayMap(r -> r.2, rows)) AS brier,
  arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, r.3 * r.5, 0.), rows)), range(10)) AS predicted_sums, arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, r.4, 0.), rows)), range(10)) AS observed_sums
FROM (
  SELECT w, sum(toUInt64(NOT inside)) AS outside, arraySort(groupArrayIf((-log(least(greatest(p[l], 2.220446049250313e-16), 0.9999999999999998)), arraySum(arrayMap((x, i) -> pow(x - (i = l), 2), p, arrayEnumerate(p))) / 2, c.1, c.2, 1, arrayCount(e -> e < c.1, [0.1, 0.2, 0.30000000000000004, 0.4, 0.5, 0.6000000000000001, 0.7000000000000001, 0.8, 0.9])), inside)) AS rows
  FROM (
    SELECT w, probabilities AS p, indexOf(['b', 'it\'s'], label) AS l, (p[2], toFloat64(l = 2)) AS c,
      l > 0 AND arrayAll(x -> x >= 0 AND x <= 1, p) AND abs(arraySum(p) - 1) <= 1e-5 AS inside
    FROM (
SELECT o.`0w` AS w, assumeNotNull(o.`0s`.1) AS predicted, o.`0s`.2 AS probabilities, if(l.label_class != '', toString(l.label_class), ifNull(toString(accurateCastOrNull(l.label, 'Int64')), toString(assumeNotNull(l.label)))) AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin((toString(`class`), CAST([ifNull(toFloat64(`p2`), nan), ifNull(toFloat64(`p1`), nan)], 'Array(Float64)')), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`class`) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND (f.label_class != '' OR (isNotNull(f.label) AND isFinite(f.label))) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`class`)) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
    )
  )
  GROUP BY w
);

-- quality of classes
SELECT w, class, sum(p) AS positives, sum(n) AS negatives, sum(p * toUInt64(2 * below - n)) AS twice_u
FROM (
  SELECT w, class, p, n, sum(n) OVER (PARTITION BY w, class ORDER BY score ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS below
  FROM (
    SELECT w, c.1 AS class, c.2 AS score, countIf(l = class) AS p, countIf(l != class) AS n
    FROM (
      SELECT w, indexOf(['b', 'it\'s'], label) AS l, arrayJoin(arrayZip(arrayEnumerate(probabilities), probabilities)) AS c
      FROM (
SELECT o.`0w` AS w, assumeNotNull(o.`0s`.1) AS predicted, o.`0s`.2 AS probabilities, if(l.label_class != '', toString(l.label_class), ifNull(toString(accurateCastOrNull(l.label, 'Int64')), toString(assumeNotNull(l.label)))) AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin((toString(`class`), CAST([ifNull(toFloat64(`p2`), nan), ifNull(toFloat64(`p1`), nan)], 'Array(Float64)')), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`class`) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND (f.label_class != '' OR (isNotNull(f.label) AND isFinite(f.label))) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`class`)) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
      )
    )
    GROUP BY w, class, score
  )
)
GROUP BY w, class ORDER BY w, class;

-- quality of numbers
SELECT w, length(rows) AS n, arrayReduce('sumKahan', arrayMap(r -> if(r.1 >= r.2, r.1 - r.2, 0.), rows)) AS under, arrayReduce('sumKahan', arrayMap(r -> if(r.1 < r.2, r.2 - r.1, 0.), rows)) AS over, arrayReduce('sumKahan', arrayMap(r -> (r.1 - r.2) * (r.1 - r.2), rows)) AS squares, arrayReduce('sumKahan', arrayMap(r -> abs(r.1 - r.2) / greatest(abs(r.1), 2.220446049250313e-16), rows)) AS percentage, arrayReduce('sumKahan', arrayMap(r -> if(r.1 = 0 AND r.2 = 0, 0., abs(r.1 - r.2) / (abs(r.1) / 2 + abs(r.2) / 2)), rows)) AS symmetric,
  arrayReduce('sumKahan', arrayMap(r -> r.1 - center, rows)) AS target, arrayReduce('sumKahan', arrayMap(r -> (r.1 - center) * (r.1 - center), rows)) AS target_squares, rows[1].1 AS least_target, rows[-1].1 AS most_target,
  arrayReduce('quantileExactInclusive(0.5)', arrayMap(r -> abs(r.1 - r.2), rows)) AS median_error
FROM (
  SELECT w, arraySort(groupArray((y, p))) AS rows, arrayReduce('sumKahan', arrayMap(r -> r.1 / length(rows), rows)) AS center
  FROM (
    SELECT w, assumeNotNull(label) AS y, assumeNotNull(score) AS p
    FROM (
SELECT o.`0w` AS w, o.`0s` AS score, l.label AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin(toFloat64(`price`), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`price`) AND NOT isNaN(toFloat64(`price`)) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND isFinite(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`price`) AND NOT isNaN(toFloat64(`price`))) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
    )
  )
  GROUP BY w
);

-- rows of windows that slide
SELECT toInt64(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS w, count() AS n FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981003600000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') GROUP BY w ORDER BY w;

-- cells of windows that slide
SELECT toUInt32(intDiv(toUnixTimestamp64Micro(bucket) - (980985600000000), 3600000000)) AS w, column AS c, sum(profiles.rows) AS n, sum(profiles.missing) + sum(profiles.nan) AS m, sum(profiles.other) AS o, sumForEachMerge(profiles.cells) AS b FROM millrace.profiles WHERE model = 'shop' AND version = '1.0' AND plan = '4a0e0c33c139fbe422afd507a386f2b7' AND segment = '' AND value = '' AND column != '' AND bucket >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND bucket < fromUnixTimestamp64Micro(981000000000000, 'UTC') GROUP BY w, c;

-- cells of windows that slide
SELECT toInt64(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS w, count() AS n FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') GROUP BY w ORDER BY w;

-- cells of windows that slide
SELECT `0w` AS w, `0t`.1 AS c, `0t`.2 AS b, count() AS n FROM (SELECT toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, arrayJoin([(toUInt16(0), toUInt16(if(isNull(`amount`) OR isNaN(`amount`), 65535, transform(roundDown(assumeNotNull(toFloat64(`amount`)), [-inf,-1e+30,1e-01,3.333333333333333e-01,1e+30] AS `0edges_amount`), `0edges_amount`, range(0, 5), 65534)))),(toUInt16(1), toUInt16(if(isNull(`country`), 65535, transform(assumeNotNull(toString(`country`)), ['it\'s','back\\slash','größe','new
line',''], range(1, 6), 0)))),(toUInt16(2), toUInt16(if(isNull(`note`), 65535, 0)))]) AS `0t` FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY w, c, b;

-- quality of windows that slide
SELECT w, tp, fp, fn, tn, twice_u, outside,
  arrayReduce('sumKahan', arrayMap(r -> r.2 * ((tp + fn - r.4 + r.2) / (tp + fn - r.4 + r.2 + fp + tn - r.5 + r.3)), counts)) AS precisions,
  arraySum(arrayMap(r -> r.5, rows)) AS n, arrayReduce('sumKahan', arrayMap(r -> r.1, rows)) AS log_loss, arrayReduce('sumKahan', arrayMap(r -> r.2, rows)) AS brier,
  arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, r.3 * r.5, 0.), rows)), range(10)) AS predicted_sums, arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, r.4, 0.), rows)), range(10)) AS observed_sums
FROM (
  SELECT *, arrayMap(r -> (r.2 * -log(least(greatest(r.1, 2.220446049250313e-16), 0.9999999999999998)) + r.3 * -log(least(greatest(1 - r.1, 2.220446049250313e-16), 0.9999999999999998)), r.2 * pow(1 - r.1, 2) + r.3 * pow(r.1, 2), r.1, toFloat64(r.2), r.2 + r.3, arrayCount(e -> e < r.1, [0.1, 0.2, 0.30000000000000004, 0.4, 0.5, 0.6000000000000001, 0.7000000000000001, 0.8, 0.9])), counts) AS rows
  FROM (
    SELECT w, sumIf(p, score >= 5e-01) AS tp, sumIf(n, score >= 5e-01) AS fp, sumIf(p, score < 5e-01) AS fn, sumIf(n, score < 5e-01) AS tn,
      sum(p * toUInt64(2 * negatives - n)) AS twice_u, countIf(score < 0 OR score > 1) AS outside,
      arraySort(groupArray((score, p, n, positives, negatives))) AS counts
    FROM (
      SELECT w, score, p, n, sum(p) OVER below AS positives, sum(n) OVER below AS negatives
      FROM (
        SELECT w, assumeNotNull(score) AS score, countIf(label > 1.5e+01) AS p, countIf(NOT label > 1.5e+01) AS n
        FROM (
SELECT o.`0w` AS w, o.`0s` AS score, l.label AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 10800000000)) AS `0w`, argMin(toFloat64(`score`), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981007200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`)) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981007200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
        )
        GROUP BY w, score
      )
      WINDOW below AS (PARTITION BY w ORDER BY score ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
    GROUP BY w
  )
);

-- quality of windows that slide
SELECT w, tp, fp, fn, tn, twice_u, outside,
  arrayReduce('sumKahan', arrayMap(r -> r.2 * ((tp + fn - r.4 + r.2) / (tp + fn - r.4 + r.2 + fp + tn - r.5 + r.3)), counts)) AS precisions,
  arraySum(arrayMap(r -> r.5, rows)) AS n, arrayReduce('sumKahan', arrayMap(r -> r.1, rows)) AS log_loss, arrayReduce('sumKahan', arrayMap(r -> r.2, rows)) AS brier,
  arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, r.3 * r.5, 0.), rows)), range(10)) AS predicted_sums, arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, r.4, 0.), rows)), range(10)) AS observed_sums
FROM (
  SELECT *, arrayMap(r -> (r.2 * -log(least(greatest(r.1, 2.220446049250313e-16), 0.9999999999999998)) + r.3 * -log(least(greatest(1 - r.1, 2.220446049250313e-16), 0.9999999999999998)), r.2 * pow(1 - r.1, 2) + r.3 * pow(r.1, 2), r.1, toFloat64(r.2), r.2 + r.3, arrayCount(e -> e < r.1, [0.1, 0.2, 0.30000000000000004, 0.4, 0.5, 0.6000000000000001, 0.7000000000000001, 0.8, 0.9])), counts) AS rows
  FROM (
    SELECT w, sumIf(p, score >= 5e-01) AS tp, sumIf(n, score >= 5e-01) AS fp, sumIf(p, score < 5e-01) AS fn, sumIf(n, score < 5e-01) AS tn,
      sum(p * toUInt64(2 * negatives - n)) AS twice_u, countIf(score < 0 OR score > 1) AS outside,
      arraySort(groupArray((score, p, n, positives, negatives))) AS counts
    FROM (
      SELECT w, score, p, n, sum(p) OVER below AS positives, sum(n) OVER below AS negatives
      FROM (
        SELECT w, assumeNotNull(score) AS score, countIf(label > 1.5e+01) AS p, countIf(NOT label > 1.5e+01) AS n
        FROM (
SELECT o.`0w` AS w, o.`0s` AS score, l.label AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980989200000000), 10800000000)) AS `0w`, argMin(toFloat64(`score`), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980989200000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`)) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980989200000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
        )
        GROUP BY w, score
      )
      WINDOW below AS (PARTITION BY w ORDER BY score ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
    GROUP BY w
  )
);

-- delay of labels
SELECT o.`0w` AS w, count() AS n, quantilesExact(0.5, 0.9, 0.99, 1)(toUnixTimestamp64Micro(l.known) - o.`0e`) AS delays
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin(toUnixTimestamp64Micro(event_time), (request_topic_id, request_partition, request_offset, request_row)) AS `0e`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3) AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`)) GROUP BY request_id, `0w`
) AS o INNER JOIN (
  SELECT f.request_id AS request_id, min(f.observed_at) AS known FROM millrace.feedback AS f
  WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3) AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))) GROUP BY f.request_id
) AS l ON l.request_id = o.request_id GROUP BY w ORDER BY w;

-- latency
SELECT w, sum(c) AS requests, minIf(value, below >= ceil(n * 0.99)) AS p99,
  minIf(value, below >= greatest(1, floor(n * 0.99 - 1.959963984540054 * sqrt(n * 0.99 * (1 - 0.99))))) AS low,
  minIf(value, below >= least(toFloat64(n), ceil(n * 0.99 + 1.959963984540054 * sqrt(n * 0.99 * (1 - 0.99))))) AS high
FROM (
  SELECT w, value, c, n, sum(c) OVER (PARTITION BY w ORDER BY value ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS below
  FROM (
    SELECT "0w" AS w, "0v" AS value, "0c" AS c, sum("0c") OVER (PARTITION BY "0w") AS n
    FROM (SELECT toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS "0w", latency_us AS "0v", count() AS "0c" FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3) GROUP BY "0w", "0v")
  )
)
GROUP BY w ORDER BY w;

-- scores
SELECT w, predicted, edge, count() AS n, sum(if(edge = 2, toInt128(0), toInt128((score - greatest(edge, 0)) * 1152921504606846976.))) AS above
FROM (SELECT `0w` AS w, `0s` AS score, score >= 5e-01 AS predicted, if(score >= 0 AND score <= 1, roundDown(score, CAST([-1,1e-01,3.333333333333333e-01], 'Array(Float64)')), 2.) AS edge
FROM (SELECT toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, assumeNotNull(toFloat64(`score`)) AS `0s` FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3) AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))))
GROUP BY w, predicted, edge ORDER BY w, predicted, edge;

-- scores of rows with a label
SELECT w, predicted, edge, count() AS n, sum(if(edge = 2, toInt128(0), toInt128((score - greatest(edge, 0)) * 1152921504606846976.))) AS above
FROM (SELECT `0w` AS w, `0s` AS score, score >= 5e-01 AS predicted, if(score >= 0 AND score <= 1, roundDown(score, CAST([-1], 'Array(Float64)')), 2.) AS edge
FROM (SELECT w AS `0w`, assumeNotNull(score) AS `0s` FROM (
SELECT o.`0w` AS w, o.`0s` AS score, l.label AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin(toFloat64(`score`), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`)) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
)))
GROUP BY w, predicted, edge ORDER BY w, predicted, edge;

-- labelled scores
SELECT score, positive, total FROM (
SELECT w, assumeNotNull(score) AS score, assumeNotNull(label > 1.5e+01) AS positive, count() OVER () AS total, cityHash64(request_id, w) AS hash, request_id
FROM (
SELECT o.`0w` AS w, o.`0s` AS score, o.request_id AS request_id, l.label AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin(toFloat64(`score`), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`)) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
)
ORDER BY hash, request_id LIMIT 10000
) ORDER BY w, hash, request_id;

-- segments
SELECT w, if(other, '', value) AS segment, rank > 50 OR length(value) > 256 AS other, sum(c.1) AS tp, sum(c.2) AS fp, sum(c.3) AS fn, sum(c.4) AS tn
FROM (
  SELECT w, value, c, row_number() OVER (PARTITION BY w ORDER BY length(value) > 256, n DESC, value) AS rank
  FROM (
    SELECT w, segment AS value, count() AS n, (countIf(said AND truth), countIf(said AND NOT truth), countIf(NOT said AND truth), countIf(NOT said AND NOT truth)) AS c
    FROM (SELECT w, segment, assumeNotNull(score >= 5e-01) AS said, assumeNotNull(label > 1.5e+01) AS truth FROM (
SELECT o.`0w` AS w, o.`0s` AS score, o.`0g` AS segment, l.label AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin(toFloat64(`score`), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`, argMin(ifNull(toString(`country`), ''), (request_topic_id, request_partition, request_offset, request_row)) AS `0g`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3) AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`)) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000) IN (0,3) AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
    ))
    GROUP BY w, value
  )
)
GROUP BY w, segment, other ORDER BY w, other, tp + fp + fn + tn DESC, segment;

-- segments of classes
SELECT w, if(other, '', value) AS segment, rank > 50 OR length(value) > 256 AS other, sum(c.1) AS tp, sum(c.2) AS fp, sum(c.3) AS fn, sum(c.4) AS tn
FROM (
  SELECT w, value, c, row_number() OVER (PARTITION BY w ORDER BY length(value) > 256, n DESC, value) AS rank
  FROM (
    SELECT w, segment AS value, count() AS n, (countIf(said AND truth), countIf(said AND NOT truth), countIf(NOT said AND truth), countIf(NOT said AND NOT truth)) AS c
    FROM (SELECT w, segment, assumeNotNull(1) AS said, assumeNotNull(predicted = label) AS truth FROM (
SELECT o.`0w` AS w, assumeNotNull(o.`0s`.1) AS predicted, o.`0s`.2 AS probabilities, o.`0g` AS segment, if(l.label_class != '', toString(l.label_class), ifNull(toString(accurateCastOrNull(l.label, 'Int64')), toString(assumeNotNull(l.label)))) AS label
FROM (
  SELECT request_id, toUInt32(intDiv(toUnixTimestamp64Micro(event_time) - (980985600000000), 3600000000)) AS `0w`, argMin((toString(`class`), CAST([ifNull(toFloat64(`p2`), nan), ifNull(toFloat64(`p1`), nan)], 'Array(Float64)')), (request_topic_id, request_partition, request_offset, request_row)) AS `0s`, argMin(ifNull(toString(`label`), ''), (request_topic_id, request_partition, request_offset, request_row)) AS `0g`
  FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`class`) GROUP BY request_id, `0w`
) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND (f.label_class != '' OR (isNotNull(f.label) AND isFinite(f.label))) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`class`)) GROUP BY f.request_id) AS l ON l.request_id = o.request_id
    ))
    GROUP BY w, value
  )
)
GROUP BY w, segment, other ORDER BY w, other, tp + fp + fn + tn DESC, segment;

-- found
SELECT `model`, `version`, `window_start`, `window_end`, `revision`, `segment`, `segment_value`, `other`, `metric`, `value`, `low`, `high`, `whole`, `differs`, `labels`, `computed_at`, `window_kind` FROM (SELECT *, max(revision) OVER (PARTITION BY window_start) AS last_revision FROM millrace.accuracy_segments FINAL WHERE model = 'shop' AND version = '1.0' AND window_kind = '' AND window_start BETWEEN fromUnixTimestamp64Micro(980985600000000, 'UTC') AND fromUnixTimestamp64Micro(980996400000000, 'UTC')) WHERE revision = last_revision AND differs ORDER BY window_start, segment, segment_value, other, metric;

-- found
SELECT `model`, `version`, `window_start`, `window_end`, `revision`, `requirement`, `required`, `value`, `low`, `high`, `verdict`, `rows`, `computed_at`, `window_kind` FROM millrace.requirement_results FINAL WHERE model = 'shop' AND version = '1.0' AND window_kind = '' AND window_start BETWEEN fromUnixTimestamp64Micro(980985600000000, 'UTC') AND fromUnixTimestamp64Micro(980996400000000, 'UTC') ORDER BY window_start, requirement, revision DESC LIMIT 1 BY window_start, requirement;

-- found
SELECT `model`, `version`, `window_start`, `window_end`, `revision`, `rows`, `labels`, `median_s`, `p90_s`, `p99_s`, `longest_s`, `computed_at`, `window_kind` FROM millrace.label_delays FINAL WHERE model = 'shop' AND version = '1.0' AND window_kind = '' AND window_start BETWEEN fromUnixTimestamp64Micro(980985600000000, 'UTC') AND fromUnixTimestamp64Micro(980996400000000, 'UTC') ORDER BY window_start, revision DESC LIMIT 1 BY window_start;

-- learned estimator
SELECT `model`, `version`, `learned_to`, `rows`, `estimator` FROM millrace.learned_estimators WHERE model = 'shop' AND version = '1.0' AND learned_to = fromUnixTimestamp64Micro(980985600000000, 'UTC') ORDER BY made_at, estimator LIMIT 1;

-- finished
SELECT job, max(window_start) AS last FROM millrace.windows WHERE model = 'shop' AND version = '1.0' AND window_kind = '' GROUP BY job;

-- finished
SELECT `model`, `version`, `job`, `window_start`, `window_end`, `revision`, `rows`, `labels`, `verdict`, `done_at`, `label_state`, `retraining`, `window_kind` FROM millrace.windows FINAL WHERE model = 'shop' AND version = '1.0' AND window_kind = '' ORDER BY revision;

-- finished
SELECT `model`, `version`, `job`, `window_start`, `window_end`, `revision`, `rows`, `labels`, `verdict`, `done_at`, `label_state`, `retraining`, `window_kind` FROM millrace.windows FINAL WHERE model = 'shop' AND version = '1.0' AND retraining ORDER BY window_end DESC, done_at LIMIT 1;

-- finished
SELECT `model`, `version`, `job`, `window_start`, `window_end`, `revision`, `rows`, `labels`, `verdict`, `done_at`, `label_state`, `retraining`, `window_kind` FROM millrace.windows FINAL WHERE model = 'shop' AND version = '1.0' AND retraining ORDER BY revision;

-- finished since
SELECT `model`, `version`, `job`, `window_start`, `window_end`, `revision`, `rows`, `labels`, `verdict`, `done_at`, `label_state`, `retraining`, `window_kind` FROM millrace.windows FINAL WHERE model = 'shop' AND version = '1.0' AND window_kind = '' AND window_start >= fromUnixTimestamp64Micro(980985600000000, 'UTC') ORDER BY revision;

-- finished that slide
SELECT `model`, `version`, `job`, `window_start`, `window_end`, `revision`, `rows`, `labels`, `verdict`, `done_at`, `label_state`, `retraining`, `window_kind` FROM millrace.windows FINAL WHERE model = 'shop' AND version = '1.0' AND window_kind = '3h-every-1h' AND window_start >= fromUnixTimestamp64Micro(980985600000000, 'UTC') ORDER BY revision;

-- calibrations of alarms
SELECT `model`, `version`, `window_seconds`, `reference`, `settings`, `calibrated_from`, `calibrated_to`, `buckets`, `calibration`, `card` FROM millrace.alarm_calibrations WHERE model = 'shop' AND version = '1.0' AND window_seconds = 3600 ORDER BY made_at, calibration;

-- alarms
SELECT `model`, `version`, `window_start`, `window_end`, `revision`, `rows`, `no_data`, `above`, `score`, `threshold`, `column`, `stattest`, `phase`, `opened_at`, `recent`, `quiet`, `settings`, `decided_at` FROM millrace.alarms FINAL WHERE model = 'shop' AND version = '1.0' AND window_start >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND window_end = window_start + INTERVAL 3600 SECOND ORDER BY window_start, revision;

-- labels noted
SELECT looked_at AS at FROM millrace.label_looks FINAL WHERE model = 'shop' AND version = '1.0' AND window_kind = '';

-- label arrivals
SELECT max(stored_at) AS at, sum(cityHash64(feedback_topic_id, feedback_partition, feedback_offset)) AS state FROM millrace.feedback WHERE model = 'shop' HAVING count() > 0;

-- label arrivals since
SELECT stored_at AS at, sum(cityHash64(feedback_topic_id, feedback_partition, feedback_offset)) AS state FROM millrace.feedback WHERE model = 'shop' AND stored_at >= toDateTime(981018000, 'UTC') GROUP BY at ORDER BY at;

-- requests of labels
SELECT arraySort(groupUniqArrayIf(toInt64(intDiv(toUnixTimestamp64Micro(event_time) - (980661600000000), 3600000000)), version = '1.0' AND outcome = 'ok')) AS ws, uniqExact(request_id) >= (SELECT uniqExact(f.request_id) FROM millrace.feedback AS f WHERE f.model = 'shop' AND f.stored_at >= toDateTime(981018000, 'UTC') AND isNotNull(f.label) AND NOT isNaN(f.label)) AS found_all FROM millrace.observations_shop WHERE event_time >= fromUnixTimestamp64Micro(980661600000000, 'UTC') AND request_id IN (SELECT f.request_id FROM millrace.feedback AS f WHERE f.model = 'shop' AND f.stored_at >= toDateTime(981018000, 'UTC') AND isNotNull(f.label) AND NOT isNaN(f.label));

-- which labels count
SELECT count() AS n, sum(cityHash64(request_id, ifNull(label, 0), label_class)) AS state FROM (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))) GROUP BY f.request_id);

-- which labels count
SELECT count() AS n, sum(cityHash64(request_id, ifNull(label, 0), label_class)) AS state FROM (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(981000000000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980996400000000, 'UTC') AND isNotNull(`score`) AND NOT isNaN(toFloat64(`score`))) GROUP BY f.request_id);

-- labels beyond a position
SELECT topic, part, min(place) AS least, max(place) AS most FROM (SELECT f.feedback_topic_id AS topic, f.feedback_partition AS part, f.feedback_offset AS place FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.stored_at >= toDateTime(981018000, 'UTC') AND NOT (f.feedback_topic_id = '' AND f.feedback_partition = 2 AND f.feedback_offset <= 7) ORDER BY topic, part, place LIMIT 100 BY topic, part) GROUP BY topic, part ORDER BY topic, part;

-- when a version began
SELECT min(minute) AS at, count() AS n FROM millrace.minute_states WHERE model = 'shop' AND version = '1.0';

-- rows beyond a position
SELECT request_topic_id AS topic, request_partition AS part, request_offset AS place, request_row AS at_row, event_time AS at, [ifNull(toFloat64(`score`), nan), ifNull(toFloat64(`amount`), nan)] AS xs FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND stored_at BETWEEN toDateTime(981014400, 'UTC') AND toDateTime(981018000, 'UTC') AND NOT (request_topic_id = '' AND request_partition = 2 AND (request_offset, request_row) <= (7, 1)) ORDER BY topic, part, place, at_row LIMIT 100 BY topic, part;

-- state of breaks
SELECT `model`, `version`, `number`, `state`, `events`, `labels_from`, `rows_from` FROM millrace.break_states WHERE model = 'shop' AND version = '1.0' ORDER BY number DESC LIMIT 1;

-- rows
SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') ORDER BY event_time;

-- rows of a reason
SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') AND toString(`country`) NOT IN ('it\'s', 'back\\slash', 'größe', 'new
line', '') ORDER BY event_time;

-- training
SELECT o.request_id AS request_id, o.event_time AS event_time, o.`amount` AS `amount`, o.`country` AS `country`, o.`label` AS `label`, o.`note` AS `note`, f.label AS feedback_label FROM (SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY f.request_id) AS f ON f.request_id = o.request_id ORDER BY event_time;

-- training, label
SELECT o.request_id AS request_id, o.event_time AS event_time, o.`amount` AS `amount`, o.`country` AS `country`, f.label AS label FROM (SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY f.request_id) AS f ON f.request_id = o.request_id ORDER BY event_time;

-- training, classes
SELECT o.request_id AS request_id, o.event_time AS event_time, o.`amount` AS `amount`, o.`country` AS `country`, o.`label` AS `label`, o.`note` AS `note`, if(f.label_class != '', toString(f.label_class), ifNull(toString(accurateCastOrNull(f.label, 'Int64')), toString(assumeNotNull(f.label)))) AS feedback_label FROM (SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND (f.label_class != '' OR (isNotNull(f.label) AND isFinite(f.label))) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY f.request_id) AS f ON f.request_id = o.request_id ORDER BY event_time;

-- training, words
SELECT o.request_id AS request_id, o.event_time AS event_time, o.`amount` AS `amount`, o.`country` AS `country`, o.`label` AS `label`, o.`note` AS `note`, f.label_class AS feedback_label FROM (SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) AS o INNER JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND f.label_class != '' AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY f.request_id) AS f ON f.request_id = o.request_id ORDER BY event_time;

-- labelled
SELECT o.event_time AS event_time, o.`amount` AS `amount`, o.`country` AS `country`, o.`label` AS `label`, o.`note` AS `note`, o.`score` AS `score`, toNullable(f.label) AS `0label`, nullIf(f.label_class, '') AS `0label_class` FROM (SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) AS o LEFT JOIN (SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), (f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)) AS `0last`).1 AS label, `0last`.2 AS label_class FROM millrace.feedback AS f WHERE f.model = 'shop' AND isNotNull(f.label) AND NOT isNaN(f.label) AND f.request_id IN (SELECT request_id FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) GROUP BY f.request_id) AS f ON f.request_id = o.request_id ORDER BY event_time;

-- labelled, without a target
SELECT o.event_time AS event_time, o.`amount` AS `amount`, o.`country` AS `country`, o.`score` AS `score` FROM (SELECT * FROM millrace.observations_shop WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC')) AS o ORDER BY event_time;

-- training without a target
SELECT o.request_id AS request_id, o.event_time AS event_time, o.`amount` AS `amount`, o.`country` AS `country` FROM millrace.observations_shop AS o WHERE version = '1.0' AND outcome = 'ok' AND event_time < fromUnixTimestamp64Micro(980989200000000, 'UTC') AND event_time >= fromUnixTimestamp64Micro(980985600000000, 'UTC') ORDER BY event_time;

-- due reports
SELECT window_start, maxIf(done_at, job != 'report') AS done
FROM millrace.windows WHERE model = 'shop' AND version = '1.0' AND window_kind = '' GROUP BY window_start
HAVING done > maxIf(done_at, job = 'report') ORDER BY window_start DESC LIMIT 64;

-- due reports of a schedule
SELECT window_start, maxIf(done_at, job != 'report' AND done_at < fromUnixTimestamp64Micro(981018000000000, 'UTC')) AS done
FROM millrace.windows WHERE model = 'shop' AND version = '1.0' AND window_kind = '' GROUP BY window_start
HAVING done > maxIf(done_at, job = 'report') ORDER BY window_start DESC LIMIT 64;

-- results
SELECT `model`, `version`, `job`, `window_start`, `window_end`, `revision`, `rows`, `labels`, `verdict`, `done_at`, `label_state`, `retraining`, `window_kind` FROM millrace.windows FINAL WHERE model = 'shop' AND version = '1.0' AND window_kind = '' AND window_start BETWEEN fromUnixTimestamp64Micro(980985600000000, 'UTC') AND fromUnixTimestamp64Micro(980996400000000, 'UTC') ORDER BY window_start, job, revision DESC LIMIT 1 BY window_start, job;

-- results
SELECT `model`, `version`, `window_start`, `window_end`, `revision`, `column`, `stattest`, `score`, `p_value`, `expected`, `effect`, `p_corrected`, `smallest_effect`, `threshold`, `drifted`, `verdict`, `reason`, `severity`, `retrain`, `rows`, `missing`, `computed_at`, `window_kind` FROM millrace.drift_results FINAL WHERE model = 'shop' AND version = '1.0' AND window_kind = '' AND window_start BETWEEN fromUnixTimestamp64Micro(980985600000000, 'UTC') AND fromUnixTimestamp64Micro(980996400000000, 'UTC') ORDER BY window_start, column, stattest, revision DESC LIMIT 1 BY window_start, column, stattest;

-- results
SELECT `model`, `version`, `window_start`, `window_end`, `revision`, `metric`, `value`, `low`, `high`, `no_interval`, `sampling_error`, `realized`, `estimated`, `counted_within`, `threshold`, `breached`, `severity`, `retrain`, `rows`, `labels`, `computed_at`, `window_kind` FROM millrace.accuracy_results FINAL WHERE model = 'shop' AND version = '1.0' AND window_kind = '' AND window_start BETWEEN fromUnixTimestamp64Micro(980985600000000, 'UTC') AND fromUnixTimestamp64Micro(980996400000000, 'UTC') ORDER BY window_start, metric, revision DESC LIMIT 1 BY window_start, metric;

-- verdicts
SELECT window_start,
  toString(argMaxIf(verdict, (revision, done_at), job = 'drift')) AS drift, toString(argMaxIf(verdict, (revision, done_at), job = 'accuracy')) AS accuracy,
  max(job = 'report') = 1 AS reported, max(rows) AS n, max(labels) AS l
FROM millrace.windows WHERE model = 'shop' AND version = '1.0' AND window_kind = '' GROUP BY window_start ORDER BY window_start DESC LIMIT 1001;

