-- A login looks at the sessions its account has, while nobody else may write.
CREATE INDEX sessions_user_id ON sessions (user_id, created_at);
