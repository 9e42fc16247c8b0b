-- What an answer says beside its body (where the new thing is, its ETag) belongs to it when it is given again.
-- An array of pairs; null for answers of before.
ALTER TABLE idempotency_keys ADD COLUMN headers json;
