-- Who changed which spread from what to what, written in the transaction of the change.
CREATE TABLE spread_audit (
    scope       TEXT    NOT NULL,
    revision    INTEGER NOT NULL,
    actor_id    TEXT    NOT NULL,
    actor_email TEXT    NOT NULL,
    -- {"buy":{"unit","value"},"sell":{"unit","value"}} as markups, or null for none.
    old_spread  TEXT,
    new_spread  TEXT,
    request_id  TEXT,
    changed_at  INTEGER NOT NULL,
    PRIMARY KEY (scope, revision)
) STRICT;
