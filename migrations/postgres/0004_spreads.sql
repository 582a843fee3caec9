-- The latest revision of each scope's spread. A removed one keeps its row and its revision, with no adjustments.
CREATE TABLE spreads (
    -- A pair (BTC_USD), or * for every pair without a spread of its own.
    scope      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- Signed adjustments, customer = original + adjustment: a markup on the sell side is stored negated. Values are
    -- decimals as text, so that no digit is lost.
    buy_unit   TEXT COLLATE "C" CHECK (buy_unit IN ('absolute', 'percent', 'bps')),
    buy_value  TEXT,
    sell_unit  TEXT COLLATE "C" CHECK (sell_unit IN ('absolute', 'percent', 'bps')),
    sell_value TEXT,
    revision   BIGINT           NOT NULL CHECK (revision > 0),
    updated_by TEXT COLLATE "C" NOT NULL,
    updated_at BIGINT           NOT NULL,
    CHECK ((buy_unit IS NULL) = (buy_value IS NULL)
       AND (buy_unit IS NULL) = (sell_unit IS NULL)
       AND (buy_unit IS NULL) = (sell_value IS NULL))
);
