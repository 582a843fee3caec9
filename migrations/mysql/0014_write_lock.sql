-- Who writes locks its row first: one at a time.
CREATE TABLE write_lock (
    id BIGINT NOT NULL PRIMARY KEY
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;
