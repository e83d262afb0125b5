-- Prints the statements that bring into one database of millrace what another one has and it has
-- not: rows that Kafka does not hold any more, and what the monitor has judged. Run it, and what it
-- prints, as an administrator; deploy/README.md, "ClickHouse: clusters", says when.
--   clickhouse-client --param_old=millrace --param_new=millrace2 --param_cluster=main --queries-file move.sql > moved.sql
--   clickhouse-client --queries-file moved.sql
-- --param_cluster= without a name where the new database is of one server.
WITH
    map('feedback', 'feedback_topic_id, feedback_partition, feedback_offset',
        'dead_letters', 'dead_letter_topic_id, dead_letter_partition, dead_letter_offset',
        'events', 'event_topic_id, event_partition, event_offset',
        'observations', 'request_topic_id, request_partition, request_offset, request_row') AS coordinates,
    ['model_versions', 'windows', 'drift_results', 'accuracy_results', 'label_looks', 'learned_references', 'break_states',
        'accuracy_segments', 'requirement_results', 'label_delays', 'learned_estimators', 'alarm_calibrations', 'alarms'] AS whole,
    had AS
    (
        SELECT table, name, type, position
        FROM system.columns
        WHERE database = {old:String} AND default_kind != 'MATERIALIZED'
            AND (startsWith(table, 'observations_') OR has(mapKeys(coordinates), table) OR has(whole, table))
    ),
    -- Each of several shards has a table local_… of its own, beside the one that is read.
    has AS
    (
        SELECT if(startsWith(table, 'local_'), substring(table, 7), table) AS read, max(table LIKE 'local\_%') AS sharded, groupArray((name, type)) AS columns
        FROM system.columns
        WHERE database = {new:String} AND default_kind != 'MATERIALIZED'
            AND 'local_' || table NOT IN (SELECT name FROM system.tables WHERE database = {new:String})
        GROUP BY read
    ),
    -- Rows of earlier versions have no value in columns of later ones, and the other way around.
    needed AS
    (
        SELECT
            had.table AS table, had.name AS name, position,
            {new:String} || '.' || if(sharded, 'local_', '') || table AS target,
            arrayFirst(c -> c.1 = had.name, columns).2 AS have,
            multiIf(had.type LIKE '%Nullable(%' OR NOT startsWith(table, 'observations_'), had.type,
                had.type = 'LowCardinality(String)', 'LowCardinality(Nullable(String))', 'Nullable(' || had.type || ')') AS nullable,
            multiIf(have = '', 'ADD COLUMN IF NOT EXISTS `' || name || '` ' || nullable,
                had.type LIKE '%Nullable(%' AND have NOT LIKE '%Nullable(%', 'MODIFY COLUMN `' || name || '` ' || nullable, '') AS change
        FROM had INNER JOIN has ON had.table = has.read
    )
SELECT statement
FROM
(
    SELECT 1 AS turn, table,
        'ALTER TABLE ' || target || if({cluster:String} = '', '', ' ON CLUSTER \'' || {cluster:String} || '\'')
            || ' ' || arrayStringConcat(groupArray(change), ', ') || ';' AS statement
    FROM (SELECT * FROM needed WHERE change != '' ORDER BY position)
    GROUP BY table, target
    UNION ALL
    SELECT if(table = 'model_versions', 2, 3) AS turn, table,
        'INSERT INTO ' || target || ' (' || arrayStringConcat(groupArray('`' || name || '`') AS names, ', ') || ') SELECT '
            || arrayStringConcat(names, ', ') || ' FROM ' || {old:String} || '.' || table
            || if((coordinates[if(startsWith(table, 'observations_'), 'observations', table)] AS key) = '', '',
                ' WHERE (' || key || ') NOT IN (SELECT ' || key || ' FROM ' || {new:String} || '.' || table || ')') || ';' AS statement
    FROM (SELECT * FROM needed ORDER BY position)
    GROUP BY table, target
)
ORDER BY turn, table
FORMAT TSVRaw
