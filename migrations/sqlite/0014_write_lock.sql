-- Only servers use it: their writers lock its row first. SQLite lets one write at a time by itself; the table is here so
-- that every kind of database has the same ones.
CREATE TABLE write_lock (
    id INTEGER NOT NULL PRIMARY KEY
) STRICT;
