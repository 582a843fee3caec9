-- Who changed which spread from what to what, written in the transaction of the change.
CREATE TABLE spread_audit (
    scope       TEXT COLLATE "C" NOT NULL,
    revision    BIGINT           NOT NULL,
    actor_id    TEXT COLLATE "C" NOT NULL,
    actor_email TEXT COLLATE "C" NOT NULL,
    -- {"buy":{"unit","value"},"sell":{"unit","value"}} as markups, or null for none.
    old_spread  TEXT,
    new_spread  TEXT,
    request_id  TEXT,
    changed_at  BIGINT           NOT NULL,
    PRIMARY KEY (scope, revision)
);
