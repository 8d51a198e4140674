-- test/abi/inputs/tables.sql — tables, indexes, joins. SPDX-License-Identifier: MIT
CREATE TABLE a(id INTEGER PRIMARY KEY, name TEXT, value REAL);
CREATE TABLE b(id INTEGER PRIMARY KEY, a_id INTEGER, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
  INSERT INTO a SELECT i, 'name' || (i * 7919 % 40009), i * 1.5 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
  INSERT INTO b SELECT i, i * 31 % 40000 + 1, substr('lorem ipsum dolor sit amet', i % 20, 9) FROM n;
CREATE INDEX a_name ON a(name);
CREATE INDEX b_a ON b(a_id, note);
SELECT count(*), sum(value) FROM a JOIN b ON a.id = b.a_id WHERE b.note LIKE '%or%';
SELECT note, count(*), group_concat(substr(name, 5), '-') FROM b JOIN a ON a.id = a_id
  WHERE a.id % 997 = 3 GROUP BY note ORDER BY note;
UPDATE a SET name = upper(name) || id WHERE id % 3 = 0;
DELETE FROM b WHERE a_id IN (SELECT id FROM a WHERE value > 30000);
SELECT name, count(b.id) c FROM a LEFT JOIN b ON a.id = b.a_id GROUP BY a.id ORDER BY c DESC, name
  LIMIT 50;
CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(body);
INSERT INTO f SELECT note || ' ' || a_id FROM b LIMIT 20000;
SELECT count(*) FROM f WHERE f MATCH 'ipsum OR dolor';
SELECT sum(json_extract(json_object('k', id, 'v', name), '$.k')) FROM a;
SELECT id, row_number() OVER (PARTITION BY id % 10 ORDER BY name) r FROM a ORDER BY r, id LIMIT 40;
PRAGMA integrity_check;
VACUUM;
SELECT hex(sum(length(name))) FROM a;
