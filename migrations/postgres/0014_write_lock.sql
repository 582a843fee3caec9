-- Who writes locks its row first: one at a time.
CREATE TABLE write_lock (
    id BIGINT NOT NULL PRIMARY KEY
);
