CREATE TABLE launchyard_decisions (
    namespace VARCHAR(40) NOT NULL,
    product VARCHAR(40) NOT NULL,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (namespace, product, revision)
);
CREATE TABLE launchyard_feedback (
    namespace VARCHAR(40) NOT NULL,
    output_id VARCHAR(200) NOT NULL,
    number INTEGER NOT NULL,
    product VARCHAR(40) NOT NULL,
    version INTEGER NOT NULL,
    predicted_at DATETIME NOT NULL,
    received_at DATETIME NOT NULL,
    label TEXT,
    rating FLOAT,
    comment TEXT,
    PRIMARY KEY (namespace, output_id, number)
);
CREATE INDEX launchyard_feedback_by_product ON launchyard_feedback (namespace, product, received_at);
CREATE TABLE launchyard_keys (
    namespace VARCHAR(40) NOT NULL,
    secret BLOB NOT NULL,
    created_at DATETIME NOT NULL,
    PRIMARY KEY (namespace)
);
CREATE TABLE launchyard_rollouts (
    namespace VARCHAR(40) NOT NULL,
    product VARCHAR(40) NOT NULL,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (namespace, product)
);
CREATE TABLE launchyard_schema (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE launchyard_versions (
    namespace VARCHAR(40) NOT NULL,
    product VARCHAR(40) NOT NULL,
    version INTEGER NOT NULL,
    digest VARCHAR(64) NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (namespace, product, version),
    UNIQUE (namespace, product, digest)
);
