-- Every statement that the program runs, each with who uses it.

-- Transactions. sql.c: sql_begin(), sql_commit(), sql_rollback().
-- statement: begin
BEGIN IMMEDIATE;
-- statement: commit
COMMIT;
-- statement: rollback
ROLLBACK;

-- Distrust of a database that came from a file. sql.c: both ways of opening.
-- statement: distrust
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
-- statement: user_version
PRAGMA user_version;
-- What may run code of the database's author: views, triggers, virtual tables.
-- statement: strange_schema
SELECT count(*) FROM sqlite_schema
 WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%';

-- manifest_builder.c
-- statement: manifest_add_snapshot
INSERT INTO snapshot VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
     ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24);
-- statement: manifest_add_machine
INSERT INTO machine VALUES (?1, ?2, ?3, ?4, ?5, ?6);
-- statement: manifest_add_block
INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5);
-- statement: manifest_add_pack
INSERT INTO pack VALUES (?1, ?2, ?3, ?4, ?5, ?6);
-- statement: manifest_add_segment
INSERT INTO segment VALUES (?1, ?2, ?3, ?4, ?5);
-- statement: manifest_add_device_state
INSERT INTO device_state VALUES (?1, ?2, ?3);
-- statement: manifest_add_device
INSERT INTO device VALUES (?1, ?2, ?3, ?4, ?5, ?6);

-- manifest.c
-- statement: manifest_snapshot
SELECT id, vm, vm_uuid, time_ns, mode, run_state, machine, qemu_version,
       ram_bytes, pages_total, pages_zero, pages_duplicate, pages_stored,
       pages_superseded, pages_unseen, pack_bytes, device_bytes, downtime_ms,
       duration_ms, rounds, channels, tags, facts, ram_section_id
  FROM snapshot;
-- statement: manifest_machine
SELECT machine, target_page_bits, ignore_shared, mapped_ram, uuid, raw
  FROM machine;
-- statement: manifest_blocks
SELECT block, idstr, used_bytes, host_page_bytes, left_out
  FROM block ORDER BY block;
-- statement: manifest_packs
SELECT pack, id, kind, bytes, items, used FROM pack ORDER BY pack;
-- The segment asked for, or the next one of its block that has a row.
-- statement: manifest_segment
SELECT segno, pack, item, checksum FROM segment
 WHERE block = ?1 AND segno >= ?2 ORDER BY segno LIMIT 1;
-- All of them at once, for those who need every one: usage.c, rewrite.
-- statement: manifest_segments
SELECT segno, pack, item, checksum, block FROM segment ORDER BY block, segno;
-- A snapshot whose packs were written again. snapshot_object.c
-- statement: manifest_drop_packs
DELETE FROM pack;
-- statement: manifest_move_segment
UPDATE segment SET pack = ?3, item = ?4, checksum = ?5
 WHERE block = ?1 AND segno = ?2;
-- For the check that no row hangs outside of the blocks. verify.c
-- statement: manifest_segment_count
SELECT count(*) FROM segment;
-- statement: manifest_device_state
SELECT run_state, tail, vmdesc FROM device_state;
-- statement: manifest_devices
SELECT device, name, instance, version, offset, bytes
  FROM device ORDER BY device;

-- catalog.c
-- Several processes may have it open; a crash may cost the last writes.
-- statement: catalog_setup
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA temp_store = MEMORY;
-- statement: catalog_all
SELECT id, object_bytes, object_mtime_ns, summary, checksum
  FROM snapshot ORDER BY id;
-- statement: catalog_put
INSERT OR REPLACE INTO snapshot VALUES (?1, ?2, ?3, ?4, ?5);
-- statement: catalog_drop
DELETE FROM snapshot WHERE id = ?1;
-- usage_cache.c, in catalog.db
-- statement: usage_all
SELECT id, key, unique_bytes, shared_bytes, checksum FROM usage;
-- statement: usage_clear
DELETE FROM usage;
-- statement: usage_put
INSERT OR REPLACE INTO usage VALUES (?1, ?2, ?3, ?4, ?5);
