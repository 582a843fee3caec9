-- How often something was tried: what logins and registrations are limited by.
CREATE TABLE attempts (
    -- 'login' counts failed logins, 'registration' registrations. 'known' counts nothing: its row says that the account
    -- was logged in to from this address.
    counter    TEXT COLLATE "C" NOT NULL CHECK (counter IN ('login', 'registration', 'known')),
    -- The e-mail address as it is stored with accounts, whether there is such an account or not. Empty: of any account.
    account    TEXT COLLATE "C" NOT NULL,
    -- The IP address; of IPv6 the network, such as 2001:db8::/64. Empty: from anywhere.
    address    TEXT COLLATE "C" NOT NULL,
    tries      BIGINT           NOT NULL CHECK (tries >= 0),
    last_at    BIGINT           NOT NULL,
    -- From then on the row counts no more.
    expires_at BIGINT           NOT NULL,
    PRIMARY KEY (counter, account, address)
);
