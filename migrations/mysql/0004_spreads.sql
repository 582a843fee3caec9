-- The latest revision of each scope's spread. A removed one keeps its row and its revision, with no adjustments.
CREATE TABLE spreads (
    -- A pair (BTC_USD), or * for every pair without a spread of its own.
    scope      VARCHAR(255) NOT NULL PRIMARY KEY,
    -- Signed adjustments, customer = original + adjustment: a markup on the sell side is stored negated. Values are
    -- decimals as text, so that no digit is lost.
    buy_unit   VARCHAR(16)  CHECK (buy_unit IN ('absolute', 'percent', 'bps')),
    buy_value  VARCHAR(64),
    sell_unit  VARCHAR(16)  CHECK (sell_unit IN ('absolute', 'percent', 'bps')),
    sell_value VARCHAR(64),
    revision   BIGINT       NOT NULL CHECK (revision > 0),
    updated_by VARCHAR(254) NOT NULL,
    updated_at BIGINT       NOT NULL,
    CHECK ((buy_unit IS NULL) = (buy_value IS NULL)
       AND (buy_unit IS NULL) = (sell_unit IS NULL)
       AND (buy_unit IS NULL) = (sell_value IS NULL))
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;
