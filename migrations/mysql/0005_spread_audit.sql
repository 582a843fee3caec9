-- Who changed which spread from what to what, written in the transaction of the change.
CREATE TABLE spread_audit (
    scope       VARCHAR(255) NOT NULL,
    revision    BIGINT       NOT NULL,
    actor_id    VARCHAR(36)  NOT NULL,
    actor_email VARCHAR(254) NOT NULL,
    -- {"buy":{"unit","value"},"sell":{"unit","value"}} as markups, or null for none.
    old_spread  TEXT,
    new_spread  TEXT,
    request_id  VARCHAR(255),
    changed_at  BIGINT       NOT NULL,
    PRIMARY KEY (scope, revision)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;
