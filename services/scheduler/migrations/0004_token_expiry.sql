-- Expired tokens are found without reading the others.
CREATE INDEX token_by_expiry ON token (expire_ms) WHERE expire_ms > 0;
