ALTER TABLE {{database}}.label_counts
    MODIFY COLUMN reason COMMENT 'counts; superseded: another label of the request counts; unusable: the target of no version can use it; unknown_request: no such request was stored; unknown_model: nothing of the model was',
    MODIFY COMMENT 'What became of labels, as it was ten minutes after they were stored, or up to a day later where their requests were looked for far back. Read with FINAL.'
