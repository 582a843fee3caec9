-- Ids are UUIDs as text; times are microseconds since 1970 in UTC. Text is compared byte by byte everywhere.
CREATE TABLE users (
    id            VARCHAR(36)  NOT NULL PRIMARY KEY,
    -- Trimmed and in lower case, so that the constraint sees one address as one.
    email         VARCHAR(254) NOT NULL UNIQUE,
    first_name    VARCHAR(100) NOT NULL,
    last_name     VARCHAR(100) NOT NULL,
    -- A PHC string: algorithm, parameters, salt and hash.
    password_hash VARCHAR(255) NOT NULL,
    role          VARCHAR(16)  NOT NULL CHECK (role IN ('user', 'admin')),
    disabled      BIGINT       NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    created_at    BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;
