-- Tables of the two kinds of databases, each column with its meaning.
-- Integers that are 64 bits wide and unsigned (checksums) are kept as SQLite's
-- signed ones with the same bits. `user_version` is the version of the schema.

-- The database inside a snapshot object. Written once, never changed.
-- statement: manifest_schema
PRAGMA user_version = 1;
-- One row: the snapshot as `list` shows it, and what belongs to no block.
CREATE TABLE snapshot (
    id TEXT NOT NULL PRIMARY KEY,       -- 16 hex digits, the object's name
    vm TEXT NOT NULL,                   -- name, or the uuid if it has none
    vm_uuid TEXT NOT NULL,              -- '' if all zero or unknown
    time_ns INTEGER NOT NULL,           -- instant captured, since 1970 UTC
    mode TEXT NOT NULL,                 -- 'stream' or 'background'
    run_state TEXT NOT NULL,            -- of the VM when captured
    machine TEXT NOT NULL,              -- resolved machine type
    qemu_version TEXT NOT NULL,
    ram_bytes INTEGER NOT NULL,         -- sum over the blocks
    pages_total INTEGER NOT NULL,       -- of blocks that were not left out
    pages_zero INTEGER NOT NULL,        -- sent, and all zero at the end
    pages_duplicate INTEGER NOT NULL,   -- share a stored item with another
    pages_stored INTEGER NOT NULL,      -- items that this capture wrote
    pages_superseded INTEGER NOT NULL,  -- of those, used by no page at the end
    pages_unseen INTEGER NOT NULL,      -- never sent, recorded as zero
    pack_bytes INTEGER NOT NULL,        -- of the packs this capture wrote
    device_bytes INTEGER NOT NULL,      -- length of the device tail
    downtime_ms INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    rounds INTEGER NOT NULL,
    channels INTEGER NOT NULL,
    tags TEXT NOT NULL,                 -- JSON object of strings
    facts TEXT NOT NULL,                -- JSON object, as the capture found it
    ram_section_id INTEGER NOT NULL     -- id of the RAM section in the stream
);
-- One row: what the stream's configuration section said.
CREATE TABLE machine (
    machine TEXT NOT NULL,              -- the name in the section
    target_page_bits INTEGER NOT NULL,  -- 0 when the stream does not say
    ignore_shared INTEGER NOT NULL,     -- 1: capability x-ignore-shared
    mapped_ram INTEGER NOT NULL,        -- 1: capability mapped-ram
    uuid BLOB,                          -- 16 bytes, or NULL
    raw BLOB NOT NULL                   -- the section as it came
);
-- RAM blocks in the stream's order.
CREATE TABLE block (
    block INTEGER PRIMARY KEY,          -- 0, 1, ...
    idstr TEXT NOT NULL,
    used_bytes INTEGER NOT NULL,        -- a multiple of 4096
    host_page_bytes INTEGER NOT NULL,
    left_out INTEGER NOT NULL           -- 1: content is not in the snapshot
);
-- Every pack that the snapshot refers to.
CREATE TABLE pack (
    pack INTEGER PRIMARY KEY,           -- 0, 1, ...; counts in this snapshot
    id TEXT NOT NULL,                   -- 32 hex digits, the pack's name
    kind INTEGER NOT NULL,              -- 1 pages, 2 index
    bytes INTEGER NOT NULL,             -- length of the file
    items INTEGER NOT NULL,             -- in the whole pack
    used INTEGER NOT NULL               -- of those, used by this snapshot
);
-- Where the index of 512 pages lies. No row: all 512 pages are zero.
CREATE TABLE segment (
    block INTEGER NOT NULL,
    segno INTEGER NOT NULL,             -- first page / 512
    pack INTEGER NOT NULL,              -- an index pack of table `pack`
    item INTEGER NOT NULL,              -- in that pack
    checksum INTEGER NOT NULL,          -- covers idstr, segno and the bytes
    PRIMARY KEY (block, segno)
) WITHOUT ROWID;
-- One row: the bytes behind RAM in the stream, and their description.
CREATE TABLE device_state (
    run_state TEXT NOT NULL,            -- from the globalstate section
    tail BLOB NOT NULL,                 -- sections, closing EOF byte included
    vmdesc BLOB NOT NULL                -- JSON, as it came
);
-- The sections in the tail, where the description was proved against it.
CREATE TABLE device (
    device INTEGER PRIMARY KEY,         -- 0, 1, ...
    name TEXT NOT NULL,
    instance INTEGER NOT NULL,
    version INTEGER NOT NULL,
    offset INTEGER NOT NULL,            -- in the tail, of the type byte
    bytes INTEGER NOT NULL              -- header, body and footer
);

-- catalog.db: a cache of the `snapshot` rows. May be deleted at any time.
-- statement: catalog_schema
PRAGMA user_version = 2;
CREATE TABLE snapshot (
    id TEXT NOT NULL PRIMARY KEY,       -- 16 hex digits
    object_bytes INTEGER NOT NULL,      -- length of the file it came from
    object_mtime_ns INTEGER NOT NULL,   -- and its time of last change
    summary TEXT NOT NULL,              -- JSON
    checksum INTEGER NOT NULL           -- covers all columns before
) WITHOUT ROWID;
-- What each snapshot needs for itself, for one set of snapshots (`key`).
CREATE TABLE usage (
    id TEXT NOT NULL PRIMARY KEY,
    key INTEGER NOT NULL,               -- stands for all snapshots there were
    unique_bytes INTEGER NOT NULL,
    shared_bytes INTEGER NOT NULL,
    checksum INTEGER NOT NULL           -- covers all columns before
) WITHOUT ROWID;
