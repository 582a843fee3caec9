-- What a session is renewed with, for those that can be. A row goes with its session.
CREATE TABLE refresh_tokens (
    -- SHA-256, in hex, of what all tokens of the session begin with: a token that was used is recognised by it.
    family     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- SHA-256, in hex, of the one token that is good now.
    token      TEXT COLLATE "C" NOT NULL,
    session_id TEXT COLLATE "C" NOT NULL UNIQUE REFERENCES sessions (id) ON DELETE CASCADE
);
