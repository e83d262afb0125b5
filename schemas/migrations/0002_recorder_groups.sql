CREATE TABLE IF NOT EXISTS {{database}}.recorder_groups
(
    topic_id       String COMMENT 'of Kafka: a topic that is made again has another one',
    topic          String,
    recorder_group String COMMENT 'the consumer group whose recorders store the rows of this topic',
    taken_from     String COMMENT 'the group that did before',
    claimed_at     DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(claimed_at)
ORDER BY topic_id
COMMENT 'Which consumer group records each topic: a second one would store every row again. Read with FINAL.'
