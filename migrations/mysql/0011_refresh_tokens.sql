-- What a session is renewed with, for those that can be. A row goes with its session.
CREATE TABLE refresh_tokens (
    -- SHA-256, in hex, of what all tokens of the session begin with: a token that was used is recognised by it.
    family     VARCHAR(64) NOT NULL PRIMARY KEY,
    -- SHA-256, in hex, of the one token that is good now.
    token      VARCHAR(64) NOT NULL,
    session_id VARCHAR(36) NOT NULL UNIQUE,
    FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;
