-- Changes of spreads that were made for a later time. Rows are never deleted: their state tells what became of them.
CREATE TABLE scheduled_spreads (
    id               TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    scope            TEXT COLLATE "C" NOT NULL,
    -- {"buy":{"unit","value"},"sell":{"unit","value"}} as markups, or null for a removal.
    new_spread       TEXT,
    effective_from   BIGINT           NOT NULL,
    actor_id         TEXT COLLATE "C" NOT NULL,
    actor_email      TEXT COLLATE "C" NOT NULL,
    reason           TEXT,
    request_id       TEXT,
    scheduled_at     BIGINT           NOT NULL,
    -- The revision that the scope had then; 0 for no spread.
    base_revision    BIGINT           NOT NULL CHECK (base_revision >= 0),
    state            TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'applied', 'cancelled')),
    -- The revision that it became; 0 unless it was applied.
    applied_revision BIGINT           NOT NULL CHECK (applied_revision >= 0),
    -- Who cancelled it.
    settled_by       TEXT,
    -- When it was applied or cancelled; 0 while it is pending.
    settled_at       BIGINT           NOT NULL
);
