-- Ids are UUIDs as text; times are microseconds since 1970 in UTC. What is compared is compared byte by byte.
CREATE TABLE users (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- Trimmed and in lower case, so that the constraint sees one address as one.
    email         TEXT COLLATE "C" NOT NULL UNIQUE,
    first_name    TEXT COLLATE "C" NOT NULL,
    last_name     TEXT COLLATE "C" NOT NULL,
    -- A PHC string: algorithm, parameters, salt and hash.
    password_hash TEXT COLLATE "C" NOT NULL,
    role          TEXT COLLATE "C" NOT NULL CHECK (role IN ('user', 'admin')),
    disabled      BIGINT           NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    created_at    BIGINT           NOT NULL
);
