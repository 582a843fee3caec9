-- Ids are UUIDs as text; times are microseconds since 1970 in UTC.
CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    -- Trimmed and in lower case, so that the constraint sees one address as one.
    email         TEXT    NOT NULL UNIQUE,
    first_name    TEXT    NOT NULL,
    last_name     TEXT    NOT NULL,
    -- A PHC string: algorithm, parameters, salt and hash.
    password_hash TEXT    NOT NULL,
    role          TEXT    NOT NULL CHECK (role IN ('user', 'admin')),
    disabled      INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    created_at    INTEGER NOT NULL
) STRICT;
