-- Rows that count no more are deleted with each attempt.
CREATE INDEX attempts_expires_at ON attempts (expires_at);
